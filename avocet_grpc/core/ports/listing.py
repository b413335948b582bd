"""What the core asks of the ledger to list candidates of any status."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position, QueueItem


@dataclass(frozen=True, slots=True)
class Looked:
    """The candidates that match, where the look ended (None if nothing follows), and how many rows it read."""

    found: list[QueueItem]
    ended_at: Position | None
    seen: int


class Listing(Protocol):
    """Candidates of any status in one consistent view of the ledger."""

    def look(
        self,
        statuses: Collection[str | None],
        filter: CandidateFilter,
        order: Order,
        after: Position | None,
        limit: int,
        scan: int,
    ) -> Looked:
        """Return at most `limit` matching candidates after `after`, in order, passing over at most `scan` rows.

        Fewer come once they are full (`core.model.PAGE_BYTES`): what follows MUST NOT be read into memory.
        A status None stands for every word that is not a `core.model.Status`; no statuses means all. MUST cost no more
        than `scan` rows, whatever the size of the store.
        """

    def among(
        self, keys: Collection[int], statuses: Collection[str | None], filter: CandidateFilter
    ) -> dict[int, Candidate]:
        """Return those of the candidates with these keys that match, by key."""

    def changed_after(self, revision: int, limit: int) -> list[int]:
        """Return keys of at most `limit` candidates that changed after this revision, in no order."""

    def passing(self, keys: Collection[int], filter: CandidateFilter) -> set[int]:
        """Return those of the candidates with these keys that pass the filter."""
