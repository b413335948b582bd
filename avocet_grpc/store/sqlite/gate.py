"""Reads of one process follow one another. At the same time they only take the interpreter's lock from each other.

SQLite lets go of that lock at each step. If another thread reads too, each step waits for the lock. A page of the queue
took a quarter more CPU then.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

LONG_S = 0.01
"""How long a read waits for another one. A longer one is mostly inside SQLite, which does not hold the lock."""


class Gate:
    """Lets one read through at a time. Any thread may use it."""

    def __init__(self, long_s: float = LONG_S) -> None:
        self._free, self._long_s = threading.Lock(), long_s

    @contextlib.contextmanager
    def passed(self) -> Iterator[None]:
        """Wait until no other read is inside, or for `long_s` seconds."""
        alone = self._free.acquire(timeout=self._long_s)
        try:
            yield
        finally:
            if alone:
                self._free.release()
