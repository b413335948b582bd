"""Claims: which reviewer holds which candidate.

A claim is a row beside the records, so that claiming touches no index of them. A row may outlive its claim until it is
swept: each query asks for the time. A row never outlives the candidate's stay in review (`transaction` sees to that).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position, QueueItem
from avocet_grpc.core.ports.claims import Claim, ClaimState, HeldBy
from avocet_grpc.store.sql.bodies import Body
from avocet_grpc.store.sql.counts import Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among, where_of
from avocet_grpc.store.sql.queue import Also, QueuePages
from avocet_grpc.store.sql.room import within_room
from avocet_grpc.store.sql.rows import indexed

HELD = "EXISTS (SELECT 1 FROM claims c WHERE c.key = r.key AND c.expires_at > :now)"
BY_CLAIMS = "claims c CROSS JOIN "
POSTPONED = "EXISTS (SELECT 1 FROM postponed p WHERE p.reviewer = :taker AND p.key = r.key AND p.until > :now)"
"""A row at a time by the primary key: as many looks as there are claims in front of the page, and no more."""

CLAIMS = "SELECT count(*) FROM claims"
REFUSED = f"SELECT ({CLAIMS}) + (SELECT count(*) FROM postponed WHERE reviewer = :taker)"

STATES = {
    ClaimState.UNCLAIMED: f" AND NOT {HELD}",
    ClaimState.CLAIMED: " AND r.key = c.key AND c.expires_at > :now",
    ClaimState.MINE: " AND r.key = c.key AND c.expires_at > :now AND c.reviewer = :mine",
}
COLUMNS = "key, lease_id, reviewer, principal, expires_at"
COUNT = "SELECT count(*) FROM claims c CROSS JOIN records r{by_key} WHERE r.key = c.key AND c.expires_at > :now"
PUT = (
    "ON CONFLICT (key) DO UPDATE SET lease_id = excluded.lease_id, reviewer = excluded.reviewer,"
    " principal = excluded.principal, expires_at = excluded.expires_at"
)
POSTPONE = "ON CONFLICT (reviewer, key) DO UPDATE SET until = excluded.until"
FORGET = (
    "DELETE FROM postponed WHERE reviewer = :reviewer AND key IN (SELECT key FROM postponed"
    " WHERE reviewer = :reviewer ORDER BY until DESC, key LIMIT :surplus OFFSET :at_most)"
)


class ClaimRow(NamedTuple):
    """A row of `claims`; times are Unix time in milliseconds."""

    key: int
    lease_id: str
    reviewer: str
    principal: str
    expires_at: int


class PostponedRow(NamedTuple):
    """A row of `postponed`: until when a reviewer does not get a candidate.

    `reviewer` is what `rows.indexed` gives for the name, since the name is shown to nobody.
    """

    reviewer: str
    key: int
    until: int


class _Held(NamedTuple):
    lease_id: str
    key: int
    size: int
    raw: bytes
    revision: int


class Claims:
    """Implements `core.ports.claims.ClaimReader` on one session, and the statements of a `ClaimTable`."""

    def __init__(self, session: Session, pages: QueuePages, counts: Counts) -> None:
        self._session, self._pages, self._counts = session, pages, counts

    def now(self) -> float:
        return self._session.now()

    def holders(self, keys: Collection[int]) -> Mapping[int, Claim]:
        where, values = among("key", keys)
        return {claim.key: claim for claim in self._living(where, values)}

    def is_empty(self) -> bool:
        """Return whether there is no claim, not even one that has ended."""
        return bool(self._session.number("SELECT NOT EXISTS (SELECT 1 FROM claims)"))

    def find(self, lease_ids: Collection[str]) -> Mapping[str, Claim]:
        """Return the living claims among these, by lease id."""
        where, values = among("lease_id", lease_ids)
        return {claim.lease_id: claim for claim in self._living(where, values)}

    def held_by(self, reviewer: str) -> int:
        stored, given = (self._session.dialect.any_length.format(text) for text in ("reviewer", ":reviewer"))
        query = f"SELECT count(*) FROM claims WHERE ({stored}) = ({given}) AND expires_at > :now"
        return self._session.number(query, {"reviewer": reviewer, "now": self._milliseconds()})

    def count(self, filter: CandidateFilter, held: HeldBy | None = None) -> int:
        where, values = where_of(filter, "r.")
        if held is not None and held.state is ClaimState.MINE:
            where, values = f"{where} AND c.reviewer = :mine", values | {"mine": held.reviewer}
        counted = COUNT.format(by_key=self._session.dialect.scan)
        return self._session.number(counted + where, values | {"now": self._milliseconds()})

    def queue(
        self,
        held: HeldBy,
        filter: CandidateFilter,
        order: Order,
        after: Position | None,
        offset: int,
        limit: int,
    ) -> list[QueueItem]:
        values = {"now": self._milliseconds(), "mine": held.reviewer}
        driven_by = "" if held.state is ClaimState.UNCLAIMED else BY_CLAIMS
        also = Also(STATES[held.state], values, driven_by, CLAIMS)
        return self._pages.page(filter, order, after, offset, limit, also)

    def queue_total(self, held: HeldBy, filter: CandidateFilter) -> int:
        if held.state is ClaimState.UNCLAIMED:
            return self._counts.queue_total(filter) - self.count(filter)
        return self.count(filter, held)

    def free(self, filter: CandidateFilter, order: Order, reviewer: str, limit: int) -> list[QueueItem]:
        """Return candidates in review that nobody holds and that the reviewer has not postponed, in order."""
        values = {"now": self._milliseconds(), "taker": self._postponer(reviewer)}
        also = Also(f" AND NOT {HELD} AND NOT {POSTPONED}", values, refuses=REFUSED)
        return self._pages.page(filter, order, None, 0, limit, also)

    def held_candidates(self, lease_ids: Collection[str]) -> Mapping[str, Candidate]:
        """Return the candidates that the living claims among these hold, by lease id."""
        where, values = among("c.lease_id", lease_ids)
        query = (
            "SELECT c.lease_id, r.key, b.size, b.raw, r.revision FROM claims c"
            f" CROSS JOIN records r{self._session.dialect.scan} CROSS JOIN bodies b"
            f" WHERE {where} AND c.expires_at > :now AND r.key = c.key AND b.key = r.body"
        )
        rows = within_room(self._session.each(_Held, query, values | {"now": self._milliseconds()}))
        return {row.lease_id: Body(*row[1:]).candidate(self._session) for row in rows}

    def put(self, claims: Sequence[Claim]) -> None:
        """Store claims, each in place of the one on the same candidate if there is one."""
        rows = [
            ClaimRow(claim.key, claim.lease_id, claim.reviewer, claim.principal, int(claim.expires_at * 1_000))
            for claim in claims
        ]
        if rows:
            self._session.insert("claims", rows, PUT)

    def end(self, keys: Collection[int]) -> None:
        """Nobody holds these candidates any longer."""
        for key in keys:
            self._session.execute("DELETE FROM claims WHERE key = :key", {"key": key})

    def postpone(self, reviewer: str, keys: Collection[int], until: float, at_most: int) -> None:
        """Keep these candidates from the reviewer until then; of more than `at_most`, forget those that end first."""
        postponer = self._postponer(reviewer)
        rows = [PostponedRow(postponer, key, int(until * 1_000)) for key in keys]
        self._session.insert("postponed", rows, POSTPONE)
        self._session.execute(FORGET, {"reviewer": postponer, "at_most": at_most, "surplus": len(rows)})

    def sweep(self, limit: int) -> None:
        """Drop at most `limit` claims and as many postponements whose time has come."""
        values = {"now": self._milliseconds(), "limit": limit}
        ended = "SELECT key FROM claims WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit"
        self._session.execute(f"DELETE FROM claims WHERE key IN ({ended})", values)
        over = "SELECT reviewer, key FROM postponed WHERE until <= :now ORDER BY until LIMIT :limit"
        self._session.execute(f"DELETE FROM postponed WHERE (reviewer, key) IN ({over})", values)

    def _living(self, where: str, values: Mapping[str, Any]) -> Sequence[Claim]:
        query = f"SELECT {COLUMNS} FROM claims WHERE {where} AND expires_at > :now"
        rows = self._session.all(ClaimRow, query, {**values, "now": self._milliseconds()})
        return [Claim(row.lease_id, row.key, row.reviewer, row.principal, row.expires_at / 1_000) for row in rows]

    def _postponer(self, reviewer: str) -> str:
        return indexed(reviewer, self._session.dialect.longest_indexed)

    def _milliseconds(self) -> int:
        return int(self.now() * 1_000)
