"""Whether the database can be reached, and who wants to know."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from avocet_grpc.core.errors import StorageUnreachable
from avocet_grpc.telemetry.guard import guarded

log = structlog.get_logger(__name__)

WAIT_S = 30.0
"""How long a call waits for the database."""
PAUSE_S = 0.2
NOTED_AFTER_S = 2.0
"""A shorter interruption is not logged."""


class Reach:
    """The state of one ledger's connections. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lost_at: float | None = None
        self._told = False
        self._listeners: list[Callable[[bool], None]] = []
        self.ended = threading.Event()

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` with whether the database can be reached, whenever that changes, from any thread."""
        self._listeners.append(guarded("listener", listener))

    def lost(self, why: str) -> None:
        """An attempt has failed."""
        now = time.monotonic()
        with self._lock:
            self._lost_at = self._lost_at or now
            if self._told or now - self._lost_at < NOTED_AFTER_S:
                return
            self._told = True
            self._tell(False)
        log.error("the database cannot be reached; calls wait", error=why)

    def found(self) -> None:
        """An attempt has succeeded."""
        if self._lost_at is None:
            return
        with self._lock:
            began, told = self._lost_at, self._told
            self._lost_at, self._told = None, False
            if told:
                self._tell(True)
        if told and began is not None:
            log.info("the database can be reached again", seconds=round(time.monotonic() - began, 1))

    def pause(self, began: float) -> None:
        """Before the next attempt of what began at this monotonic time. Raises StorageUnreachable if it is too late."""
        if time.monotonic() - began > WAIT_S or self.ended.wait(PAUSE_S):
            raise StorageUnreachable("the database cannot be reached")

    def _tell(self, reached: bool) -> None:
        """Tell it while the lock is held: what was true last must be told last."""
        for listener in self._listeners:
            listener(reached)
