"""What a call reads, in one consistent view of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection

from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    Order,
    Position,
    QueueItem,
    Stats,
)
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.store.sql.claims import Claims
from avocet_grpc.store.sql.counts import Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.examples import ExampleQueries
from avocet_grpc.store.sql.history import History
from avocet_grpc.store.sql.listing import Listing
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.queue import QueuePages
from avocet_grpc.store.sql.snapshots import Snapshots


class SqlReader:
    """Implements `core.ports.ledger.Reader` on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.counts = Counts(session)
        self.queries = Queries(session)
        self.queue_pages = QueuePages(session, self.counts)

    @property
    def claims(self) -> Claims:
        return Claims(self._session, self.queue_pages, self.counts)

    @property
    def examples(self) -> ExampleQueries:
        return ExampleQueries(self._session, self.queries, self.counts)

    @property
    def listing(self) -> Listing:
        return Listing(self._session)

    @property
    def log(self) -> History:
        return History(self._session, self.queries)

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self._session, self.queries)

    def revision(self) -> int:
        return self.queries.head().revision

    def first_revision(self) -> int:
        return self.queries.head().first_revision

    def is_own_revision(self, revision: int) -> bool:
        return self.queries.is_own_revision(revision)

    def candidate(self, id: str) -> Candidate | None:
        return self.queries.candidate(id)

    def queue(
        self, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        return self.queue_pages.page(filter, order, after, offset, limit)

    def queue_total(self, filter: CandidateFilter) -> int:
        return self.counts.queue_total(filter)

    def stats(self, filter: CandidateFilter) -> Stats:
        return self.counts.stats(filter, self.revision())

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        return self.queries.same_prompt(digests, most)

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        return self.counts.known_run_ids(run_ids)

    def history(self, id: str) -> list[HistoryEntry]:
        return self.queries.history(id)

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        return self.queries.newest_change(id, wanted)

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        return self.queries.history_after(after, limit)
