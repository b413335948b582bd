"""What the core asks of the ledger about claims: which reviewer holds which candidate, and until when."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position, QueueItem


@dataclass(frozen=True, slots=True)
class Claim:
    """One reviewer's claim on one candidate, which `key` names.

    `principal` is the name of the token that took it, empty without tokens. `expires_at` is Unix time in seconds by
    the store's clock.
    """

    lease_id: str
    key: int
    reviewer: str
    principal: str
    expires_at: float


class ClaimState(enum.StrEnum):
    """Which candidates in review, by their claims."""

    ANY = "any"
    UNCLAIMED = "unclaimed"
    CLAIMED = "claimed"
    MINE = "mine"


@dataclass(frozen=True, slots=True)
class HeldBy:
    """A state of claim; `reviewer` is who asks, and whose claims are MINE."""

    state: ClaimState = ClaimState.ANY
    reviewer: str = ""


ANY = HeldBy()
"""Whatever their claims."""


class ClaimReader(Protocol):
    """Claims that live: their time has not come, and their candidate is in review."""

    def now(self) -> float:
        """Return the store's clock: Unix time in seconds. MUST be the same clock for all servers of one store."""

    def holders(self, keys: Collection[int]) -> Mapping[int, Claim]:
        """Return the living claims on these candidates, by key."""

    def held_by(self, reviewer: str) -> int:
        """Return how many living claims the reviewer has."""

    def count(self, filter: CandidateFilter) -> int:
        """Return how many candidates that pass the filter are claimed. MUST NOT grow with the store."""

    def queue(
        self, held: HeldBy, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        """As `Reader.queue`, of the candidates in this state of claim; not ANY."""

    def queue_total(self, held: HeldBy, filter: CandidateFilter) -> int:
        """Return how many candidates in review pass the filter and are in this state of claim; not ANY."""


class ClaimTable(ClaimReader, Protocol):
    """Claims inside one change of the ledger.

    The ledger MUST end a claim when its candidate leaves review, in whatever way that happens: a claim never lives
    again. A claim changes no revision.
    """

    def free(self, filter: CandidateFilter, order: Order, reviewer: str, limit: int) -> list[QueueItem]:
        """Return at most `limit` candidates in review, in order, neither claimed nor postponed by this reviewer.

        MUST cost what a page of the queue costs, whatever the number of claims on candidates before it.
        """

    def find(self, lease_ids: Collection[str]) -> Mapping[str, Claim]:
        """Return the living claims among these, by lease id."""

    def held_candidates(self, lease_ids: Collection[str]) -> Mapping[str, Candidate]:
        """Return the candidates that the living claims among these hold, by lease id."""

    def put(self, claims: Sequence[Claim]) -> None:
        """Store claims, or the new `expires_at` of some. MUST replace a dead claim on the same candidate."""

    def end(self, keys: Collection[int]) -> None:
        """End the claims on these candidates."""

    def postpone(self, reviewer: str, keys: Collection[int], until: float, at_most: int) -> None:
        """Keep these candidates from this reviewer's `free` until then; of more than `at_most`, forget the first."""

    def sweep(self, limit: int) -> None:
        """Drop at most `limit` claims and as many postponements whose time has come."""
