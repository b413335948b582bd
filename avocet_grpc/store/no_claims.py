"""Claims of a ledger that has none."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from avocet_grpc.core.model import CandidateFilter, Order, Position, QueueItem
from avocet_grpc.core.ports.claims import Claim, ClaimState, HeldBy


class NoClaims:
    """Implements `core.ports.claims.ClaimReader`: nobody holds anything."""

    def now(self) -> float:
        return time.time()

    def holders(self, keys: Collection[int]) -> Mapping[int, Claim]:
        return {}

    def held_by(self, reviewer: str) -> int:
        return 0

    def count(self, filter: CandidateFilter) -> int:
        return 0

    def queue(
        self, held: HeldBy, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        if held.state is ClaimState.UNCLAIMED:
            raise NotImplementedError("ask for the queue itself")
        return []

    def queue_total(self, held: HeldBy, filter: CandidateFilter) -> int:
        return 0
