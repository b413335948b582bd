"""The time, as the mirror asks for it. Tests replace it."""

from __future__ import annotations

import time


class Clock:
    """The wall clock, the monotonic clock, and waiting; all in seconds."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since some moment; steps of the wall clock do not change it."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
