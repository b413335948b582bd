"""The examples as a copy of them reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.core.ports.examples import Approved, Body, ExamplesHead, KeptTogether, Removed
from avocet_grpc.store.sql.counts import Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.rows import NEVER, selected
from avocet_grpc.store.sql.snapshots import Snapshots

APPROVED = f"SELECT {', '.join(Approved._fields[:-1])}, {{0}} AS size FROM examples"
"""`{0}` is how an engine tells an example's size."""
SEEN = "SELECT count(*) FROM examples WHERE approved_revision <= :revision AND removed_revision > :revision"
ALL = CandidateFilter()
SINCE = (
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM examples WHERE approved_revision > :revision) OR EXISTS"
    f" (SELECT 1 FROM examples WHERE removed_revision > :revision AND removed_revision < {NEVER}) THEN 1 ELSE 0 END"
)
"""Whether an example came or went after the revision."""
BY_APPROVAL, BY_REMOVAL = "examples_by_approval", "examples_removed"
AT_ONCE = 500
"""Rows that one query names."""


class ExampleQueries:
    """Implements `core.ports.examples.Examples` on one session."""

    def __init__(self, session: Session, queries: Queries, counts: Counts) -> None:
        self._session, self._queries, self._counts = session, queries, counts

    def head(self) -> ExamplesHead:
        head = self._queries.head()
        oldest = Snapshots(self._session, self._queries).oldest_resumable()
        return ExamplesHead(head.incarnation, head.revision, oldest)

    def approved(self, after: int) -> Iterator[Approved]:
        query = APPROVED.format(self._session.dialect.example_size)
        if after <= 0:
            # The table itself, in its own order.
            return self._session.each(Approved, f"{query} ORDER BY number")
        where = f"{self._by(BY_APPROVAL)} WHERE approved_revision > :after ORDER BY approved_revision"
        return self._session.each(Approved, f"{query}{where}", {"after": after})

    def removed(self, after: int) -> Iterator[Removed]:
        query = (
            f"SELECT {selected(Removed)} FROM examples{self._by(BY_REMOVAL)}"
            f" WHERE removed_revision > :after AND removed_revision < {NEVER}"
        )
        return self._session.each(Removed, query, {"after": after})

    def bodies(self, numbers: Collection[int]) -> list[Body]:
        found, wanted = list[Body](), [*numbers]
        for start in range(0, len(wanted), AT_ONCE):
            where, values = among("number", wanted[start : start + AT_ONCE])
            found += self._session.all(Body, f"SELECT {selected(Body)} FROM examples WHERE {where}", values)
        unpacked = self._session.lines.unpacked_example
        return [body._replace(encoded=unpacked(body.encoded)) for body in found]

    def kept_together(self, first: int, last: int) -> Iterator[KeptTogether]:
        query = f"SELECT {selected(KeptTogether)} FROM examples WHERE number BETWEEN :first AND :last"
        return self._session.each(KeptTogether, query, {"first": first, "last": last})

    def count(self) -> int:
        return self._session.number("SELECT count(*) FROM examples")

    def count_at(self, revision: int) -> int:
        # Not by the head: inside a commit its row is older than what the counters have.
        is_newest = not self._session.number(SINCE, {"revision": revision})
        if is_newest and (ready := self._counts.export_ready(ALL)) is not None:
            return ready
        return self._session.number(SEEN, {"revision": revision})

    def _by(self, index: str) -> str:
        return self._session.dialect.by_index.format(index)
