"""What a call reads, in one consistent view of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Collection

from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    ExportBatch,
    ExportSelection,
    Order,
    Position,
    QueueItem,
    Stats,
)
from avocet_grpc.core.ports.ledger import ExportExtent, HistoryCursor, HistoryEntry
from avocet_grpc.store.sql.claims import Claims
from avocet_grpc.store.sql.counts import Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.exports import ExportQueries
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
        self.exports = ExportQueries(session, self.queries, self.counts)

    @property
    def claims(self) -> Claims:
        return Claims(self._session, self.queue_pages, self.counts)

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

    def export_batch(
        self,
        selection: ExportSelection,
        after_key: int,
        limit: int,
        max_bytes: int,
        *,
        about: bool = False,
        up_to_key: int | None = None,
    ) -> ExportBatch | None:
        return self.exports.export_batch(selection, after_key, limit, max_bytes, up_to_key)

    def export_extent(self, revision: int, after_key: int, last_key: int) -> ExportExtent:
        return self.exports.export_extent(revision, after_key, last_key)

    def export_total(self, selection: ExportSelection, after_key: int) -> int:
        return self.exports.export_total(selection, after_key)

    def export_growth(self, selection: ExportSelection, revision: int) -> int | None:
        return self.exports.export_growth(selection, revision)

    def history(self, id: str) -> list[HistoryEntry]:
        return self.queries.history(id)

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        return self.queries.newest_change(id, wanted)

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        return self.queries.history_after(after, limit)
