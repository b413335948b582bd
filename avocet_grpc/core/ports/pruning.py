"""What the core asks of the ledger to prune what is old."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Uptime:
    """How many seconds a machine has run, by a clock that nobody sets; `start` tells its starts apart."""

    start: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Floors:
    """What is kept. Changes after the revision `history`; exports at the revisions from `exports` on; resume tokens at
    those from `resumes` on, of exports that began before `exports` had grown; the examples that those from `examples`
    on need, for exports that went on before `resumes` had grown."""

    history: int
    exports: int
    resumes: int
    examples: int


class Pruning(Protocol):
    """Pruning inside one change of the ledger. It changes no revision.

    The ledger MUST keep what a snapshot needs, also one that was deleted less than 7 days ago, what the mirror has not
    brought to the files yet, and the request ids of 7 days, whatever the floors are.
    """

    def now(self) -> float:
        """Return the store's clock: Unix time in seconds."""

    def follow_clock(self, uptime: Uptime) -> None:
        """Move the times that were noted as far as the store's clock was set on while the machine ran.

        So nothing becomes older by a step of the clock than it is. A time that is still to come, because the clock was
        set back, becomes now: it is kept a little longer, and not until the clock is there again.
        """

    def mark(self, every: float) -> None:
        """Note the revision of this moment, unless one was noted less than `every` seconds ago, or is the same."""

    def revision_before(self, moment: float) -> int | None:
        """Return the newest revision that was noted at that Unix time or before; None if there is none."""

    def floors(self) -> Floors:
        """Return what is kept now."""

    def raise_floors(self, floors: Floors) -> None:
        """Keep less from now on; a floor never sinks. Past versions and tombstones are kept as `exports` says, and
        until the mirror has brought them to the files."""

    def prune(self, limit: int) -> int:
        """Delete at most about `limit` rows that nothing keeps. Returns how many were deleted; 0 at the end."""
