"""What the core and the edge ask of the ledger.

The ledger holds every acknowledged change. It knows records, not files: offsets, duplicates and malformed lines belong
to the mirror (`core/ports/mirror.py`). Any engine MUST pass `tests/ledger_suite/`, and is written against this page.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    File,
    Order,
    ParsedLine,
    Position,
    QueueItem,
    Source,
    Stats,
)
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.claims import ClaimReader

if TYPE_CHECKING:
    from avocet_grpc.core.ports.team import TeamReader, TeamTransaction

T = TypeVar("T")


class HistoryEntry(msgspec.Struct, frozen=True, gc=False):
    """One change of one record.

    `action` is a `core.model.ChangeAction`; ledgers of earlier versions also hold `delete` for `remove`. `actor` is the
    token's name, else the reviewer, else empty. `status_before` and `status_after` are status words, None if there is
    none. `change` is the JSON text of `core.record.difference` of before and after; None if the record was made or
    removed. `number` orders the entries of a ledger; the ledger gives it.
    """

    revision: int
    file: File
    id: str
    action: str
    actor: str
    at: str
    status_after: str | None
    change: str | None
    status_before: str | None = None
    source: Source = Source.SERVICE
    number: int = 0


class HistoryCursor(NamedTuple):
    """A position in the history: the entry of this number, or without one the last entry of this revision.

    A step of an import has many entries of one revision, so the revision alone is not a position inside it.
    """

    revision: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Remembered:
    """A request_id that was answered: `digest` of the method and content, `answer` as JSON text."""

    digest: bytes
    answer: str


class Reader(Protocol):
    """One consistent view of the ledger. Every method raises StorageFailed if the storage fails."""

    def revision(self) -> int:
        """Return the newest committed revision."""

    def first_revision(self) -> int:
        """Return the oldest revision at which exports are still kept."""

    def is_own_revision(self, revision: int) -> bool:
        """Return whether this ledger can have given the revision, which is not above its newest one.

        An earlier ledger gave those before the first one. The original of a ledger that was restored from an older
        copy gave those between the copy's last one and the first one after the restore.
        """

    def candidate(self, id: str) -> Candidate | None:
        """Return the record of this id in the candidates file."""

    def queue(
        self, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        """Return at most `limit` candidates in review after `after`, `offset` of them skipped.

        Fewer come once they are full (`core.model.until_full`): what follows MUST NOT be read into memory. MUST cost
        the same at every `after` without a filter.
        """

    def queue_total(self, filter: CandidateFilter) -> int:
        """Return how many candidates in review pass the filter; without one it MUST NOT grow with the store."""

    def stats(self, filter: CandidateFilter) -> Stats:
        """Return the counts; without a filter the cost MUST NOT grow with the store."""

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        """Return how many candidates have each of these prompts, at most `most`, whatever their status.

        A prompt is given by `core.forms.prompt_digest`. MUST NOT cost more for a prompt that more candidates have.
        """

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        """Return those of `run_ids` that some candidate has as its benchmark_run_id."""

    def history(self, id: str) -> list[HistoryEntry]:
        """Return all changes of this id that are kept, newest first."""

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        """Return the newest change of this id that is `wanted`. MUST NOT read older ones: each may have megabytes."""

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        """Return at most `limit` changes after `after`, oldest first.

        MUST be complete: if a commit is visible, all earlier ones are.
        """


class Transaction(Reader, Protocol):
    """One change. All of it is committed, or nothing; all that it writes shares one new revision.

    A work MAY run more than once, and only its last run counts: it MUST change nothing outside the transaction.
    """

    @property
    def claims(self) -> ClaimReader:
        """The claims. MUST show what earlier works of the same commit did."""

    def new_revision(self) -> int:
        """Return the revision of this change; MUST be larger than every one before."""

    def add(self, file: File, line: ParsedLine) -> int:
        """Add a record of an id that the ledger has never had in the file.

        Returns its key, above all others.
        """

    def put(self, file: File, line: ParsedLine) -> int:
        """Make the line the record of its id in the file. Returns the record's key.

        A new record gets a key above all others. An existing record keeps its key, and its old content joins the
        versions that the mirror knows as past.
        """

    def remove(self, file: File, id: str) -> None:
        """Remove the id from the file, with every line of it; ignore an unknown id."""

    def note(self, entry: HistoryEntry) -> None:
        """Add to the history."""

    def remembered(self, principal: str, request_id: str) -> Remembered | None:
        """Return what this request_id was answered, if the ledger knows it. Each principal has its own request_ids."""

    def remember(self, principal: str, request_id: str, remembered: Remembered) -> None:
        """Keep the answer for at least 7 days."""


@dataclass(frozen=True, slots=True)
class Reads(Generic[T]):
    """A work that says what it reads.

    An engine MAY fetch the candidates of these `ids` at once for a whole commit. It MUST raise NoRoom instead of giving
    the work a line, or an answer to a request_id, of more than `most_bytes`; None: lines of any length.
    """

    work: Callable[[Any], T]
    ids: tuple[str, ...] = ()
    most_bytes: int | None = None

    def __call__(self, reader: Any) -> T:
        return self.work(reader)

    @staticmethod
    def within(work: Callable[[Any], Any], outer: Callable[[Any], T]) -> Callable[[Any], T]:
        """Return `outer`, which runs `work`, as a work that reads what `work` says that it reads."""
        return Reads(outer, work.ids, work.most_bytes) if isinstance(work, Reads) else outer


class NoRoom(Exception):
    """A work would have read, or made, `size` bytes at once, and has no room for so many."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Ledger(Protocol):
    """The ledger. An acknowledged change MUST survive a power cut."""

    observer: Observer
    """Told of each commit; SILENT at first."""

    def read(self, work: Callable[[TeamReader], T]) -> T:
        """Run `work` on one consistent view, in the calling thread. Raises what `work` raises, or StorageFailed."""

    def write(self, work: Callable[[TeamTransaction], T]) -> Future[T]:
        """Queue `work` for the writer; the future resolves once the change is durable.

        Works that wait are committed together; each is all or nothing for itself. The future raises what `work`
        raises (its change is then undone), StorageFull (nothing was stored), Overloaded (too many wait) or
        StorageFailed (unknown; the ledger refuses everything from then on).
        """

    def write_all(self, works: Sequence[Callable[[TeamTransaction], T]]) -> Future[list[T | Exception]]:
        """Queue many works at once, each a change of its own: what each gives or raises, once all are durable.

        The future itself raises StorageFull, Overloaded or StorageFailed if none of them is stored, or nobody knows.
        """

    def on_commit(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each commit of this process, in the writer's thread; it MUST return at once."""

    def on_failure(self, listener: Callable[[], None]) -> None:
        """Call `listener` once when the storage has failed, from any thread."""

    def on_full(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever no change can be stored for now, from any thread.

        The disk was full, or a commit has waited long for a standby. To learn when that is over, try a change.
        """

    def on_reach(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` with False once the storage cannot be reached, and with True once it can be again.

        From any thread. Calls wait meanwhile, and end with StorageUnreachable if it lasts.
        """

    def close(self) -> None:
        """Finish what waits and close."""
