"""Prunes what is old, beside the calls: a few milliseconds of the writer at a time, and a long pause after each."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from pathlib import Path

import structlog

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.pruning import Uptime
from avocet_grpc.core.retention import Keep, prune, raise_floors
from avocet_grpc.edge.async_ledger import Backend

log = structlog.get_logger(__name__)

STEP_ROWS = 100
"""Rows that one step deletes."""
SHARE = 20
"""How many times as long as the last step took the next one waits: pruning takes at most 5 % of the writer."""
LEAST_PAUSE_SECONDS = 0.05
MOST_BETWEEN_ROUNDS = 60.0

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> Uptime | None:
    """Return how long this machine has run; None if the system does not tell its starts apart."""
    try:
        start = uuid.UUID(BOOT_ID.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None
    return Uptime(start.int >> 65, time.clock_gettime(time.CLOCK_BOOTTIME))


class Pruner:
    """Raises the floors and prunes up to them. `observer` is told of each step."""

    def __init__(self, backend: Backend, keep: Keep, observer: Observer) -> None:
        self._backend, self._keep, self._observer = backend, keep, observer

    async def next_round(self) -> None:
        """Wait, then prune what is old. Several servers of one store may do so: they share the work."""
        await asyncio.sleep(min(MOST_BETWEEN_ROUNDS, self._keep.between_marks))
        try:
            await self.round()
        except CorrectionsError as error:
            # A full disk or a failed ledger is told elsewhere; what is old can wait.
            log.warning("pruning stopped for now", error=type(error).__name__)

    async def round(self) -> int:
        """Prune all that is old by now. Returns how many rows that were. Raises what a write raises."""
        await self._backend.write(partial(raise_floors, keep=self._keep, uptime=uptime()))
        total = 0
        while True:
            began = time.monotonic()
            deleted = await self._backend.write(partial(prune, limit=STEP_ROWS, uptime=uptime()))
            if not deleted:
                return total
            total += deleted
            self._observer.pruned(deleted)
            await asyncio.sleep(max(LEAST_PAUSE_SECONDS, SHARE * (time.monotonic() - began)))
