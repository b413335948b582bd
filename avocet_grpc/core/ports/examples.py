"""What a copy of the examples reads of the ledger: what each is, what has changed since a revision, and their bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol


class ExamplesHead(NamedTuple):
    """The ledger's identity and newest revision. What was removed up to `oldest` may be gone from it."""

    incarnation: str
    revision: int
    oldest: int


class Approved(NamedTuple):
    """An example without its bytes. `number` is its row's; key and `approved_revision` together are its alone."""

    number: int
    key: int
    approved_revision: int
    removed_revision: int
    shard_hash: int
    task_type: str | None
    model_name: str | None
    source: str | None
    benchmark_run_id: str | None
    failure_category: str | None
    label: str | None
    quality_score: float | None
    prompt_digest: bytes | None
    id: str
    size: int


class Removed(NamedTuple):
    """An example that exports do not see from `removed_revision` on."""

    key: int
    approved_revision: int
    removed_revision: int


class Body(NamedTuple):
    """The bytes of an example."""

    number: int
    approved_revision: int
    id: str
    encoded: bytes


class KeptTogether(NamedTuple):
    """What a split may go by, beside the prompt."""

    number: int
    approved_revision: int
    id: str
    task_id: str | None


class Examples(Protocol):
    """The examples in one view of the ledger. Every method raises StorageFailed if the storage fails."""

    def head(self) -> ExamplesHead:
        """Return where the view stands."""

    def approved(self, after: int) -> Iterator[Approved]:
        """Yield the examples that were approved after this revision; those of one key in the order of approval."""

    def removed(self, after: int) -> Iterator[Removed]:
        """Yield the examples that were removed after this revision, and are still kept."""

    def bodies(self, numbers: Collection[int]) -> list[Body]:
        """Return what these rows have now, in any order: a row may be gone, or be another example's by now."""

    def kept_together(self, first: int, last: int) -> Iterator[KeptTogether]:
        """Yield what a split of these rows, and of those between, goes by."""

    def count(self) -> int:
        """Return how many examples the ledger keeps."""

    def count_at(self, revision: int) -> int:
        """Return how many examples an export of all sends at a revision that is kept."""
