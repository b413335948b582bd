"""Claims inside a transaction, in which changes of records may still wait to be written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position, QueueItem
from avocet_grpc.core.ports.claims import Claim, HeldBy
from avocet_grpc.store.sql.claims import Claims
from avocet_grpc.store.sql.pending import Pending


class WaitingClaims:
    """Implements `core.ports.claims.ClaimTable`.

    `written` writes what waits and gives the claims of the database. `holders`, which each decision asks, looks beside
    it: `left` says which candidates have left review and still have their claim in the database. `pending` is what the
    works of one commit share, `own` what this one has.
    """

    def __init__(
        self,
        table: Claims,
        written: Callable[[], Claims],
        pending: Pending,
        own: Pending,
        left: Callable[[int], bool],
    ) -> None:
        self._table, self._written, self._pending, self._own, self._left = table, written, pending, own, left

    def now(self) -> float:
        return self._table.now()

    def holders(self, keys: Collection[int]) -> Mapping[int, Claim]:
        # Asked once for all decisions of a commit: most stores have no claims at most moments.
        if self._pending.without_claims is None:
            self._pending.without_claims = self._table.is_empty()
        if self._pending.without_claims:
            return {}
        return {key: claim for key, claim in self._table.holders(keys).items() if not self._left(key)}

    def held_by(self, reviewer: str) -> int:
        return self._written().held_by(reviewer)

    def count(self, filter: CandidateFilter) -> int:
        return self._written().count(filter)

    def queue(
        self, held: HeldBy, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        return self._written().queue(held, filter, order, after, offset, limit)

    def queue_total(self, held: HeldBy, filter: CandidateFilter) -> int:
        return self._written().queue_total(held, filter)

    def free(self, filter: CandidateFilter, order: Order, reviewer: str, limit: int) -> list[QueueItem]:
        return self._written().free(filter, order, reviewer, limit)

    def find(self, lease_ids: Collection[str]) -> Mapping[str, Claim]:
        return self._written().find(lease_ids)

    def held_candidates(self, lease_ids: Collection[str]) -> Mapping[str, Candidate]:
        return self._written().held_candidates(lease_ids)

    def put(self, claims: Sequence[Claim]) -> None:
        self._pending.without_claims = self._own.without_claims = False
        self._written().put(claims)

    def end(self, keys: Collection[int]) -> None:
        self._written().end(keys)

    def postpone(self, reviewer: str, keys: Collection[int], until: float, at_most: int) -> None:
        self._written().postpone(reviewer, keys, until, at_most)

    def sweep(self, limit: int) -> None:
        self._written().sweep(limit)
