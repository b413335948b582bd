"""Which of the past is kept: old history, removed examples, past versions and tombstones are pruned in small steps."""

from __future__ import annotations

from dataclasses import dataclass

from avocet_grpc.core.ports.pruning import Floors, Uptime
from avocet_grpc.core.ports.team import TeamTransaction

DAY = 86_400.0
RESUMABLE_SECONDS = 7 * DAY
"""The least time for which a resume token is valid after its export began, and a request_id after its answer."""
EXPORT_SECONDS = DAY
"""How much longer that is kept which exports need: one may still send when its token ends."""
MOST_BETWEEN_MARKS = 3_600.0
MARKS = 50
"""How exactly the age of a revision is known: a fiftieth of what is kept, or an hour if that is less."""


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many seconds the history and the revisions are kept; 0 keeps all."""

    history: float = 365 * DAY
    revisions: float = 30 * DAY

    @property
    def between_marks(self) -> float:
        """How many seconds may lie between two moments whose revision is noted."""
        return min([MOST_BETWEEN_MARKS, *(seconds / MARKS for seconds in (self.history, self.revisions) if seconds)])


def raise_floors(tx: TeamTransaction, keep: Keep, uptime: Uptime | None = None) -> Floors:
    """Note the revision of this moment, and raise the floors to what is to be kept from now on.

    With the `uptime` of the machine, a step of the clock makes nothing older.
    """
    if uptime is not None:
        tx.pruning.follow_clock(uptime)
    tx.pruning.mark(keep.between_marks)
    now, floors = tx.pruning.now(), tx.pruning.floors()

    def floor(standing: int, seconds: float, longer: float = 0) -> int:
        noted = tx.pruning.revision_before(now - seconds - longer) if seconds else None
        return max(standing, noted or 0)

    raised = Floors(
        history=floor(floors.history, keep.history),
        exports=floor(floors.exports, keep.revisions),
        resumes=floor(floors.resumes, keep.revisions, RESUMABLE_SECONDS),
        examples=floor(floors.examples, keep.revisions, RESUMABLE_SECONDS + EXPORT_SECONDS),
    )
    tx.pruning.raise_floors(raised)
    return raised


def prune(tx: TeamTransaction, limit: int, uptime: Uptime | None = None) -> int:
    """Delete at most about `limit` rows that nothing keeps. Returns how many; 0 once there is nothing left.

    With the `uptime` of the machine, a step of the clock since the floors were raised makes nothing older either.
    """
    if uptime is not None:
        tx.pruning.follow_clock(uptime)
    return tx.pruning.prune(limit)
