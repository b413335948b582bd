"""Notices what other servers commit: the head is looked at so often that nobody who follows waits for long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.store.postgres.session import PostgresSession
from avocet_grpc.telemetry.guard import failed, guarded

EVERY_S = 0.05


class Wake:
    """Calls `ring` whenever the revision has grown since the last look; in a thread of its own."""

    def __init__(self, read: Callable[[Callable[[PostgresSession], int]], int], ring: Callable[[], None]) -> None:
        self._read, self._ring = read, guarded("waking", ring)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ledger-wake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        seen = -1
        while not self._ended.wait(EVERY_S):
            try:
                now = self._read(lambda session: session.number("SELECT revision FROM head"))
            except CorrectionsError:
                continue
            except Exception as error:
                failed("waking", error)
                continue
            if seen not in (-1, now):
                self._ring()
            seen = now
