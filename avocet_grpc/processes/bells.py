"""How processes wake each other after a commit: one eventfd each, which all others may write to.

A ring is never lost and never waits: the kernel adds rings up until their process looks.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable


class Bell:
    """The bell of one process, or of another one that it wakes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def ring(self) -> None:
        """Wake the process; from any thread or process."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(self.descriptor, 1)

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds. True if somebody rang since the last time."""
        select.select([self.descriptor], [], [], max(0.0, timeout))
        return self.take()

    def take(self) -> bool:
        """Return whether somebody rang since the last time."""
        try:
            return os.eventfd_read(self.descriptor) > 0
        except BlockingIOError:
            return False


def new_bell() -> Bell:
    """Return a bell that children may inherit. Raises OSError."""
    return Bell(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))


def ring_all(bells: Iterable[Bell]) -> None:
    """Wake every one."""
    for bell in bells:
        bell.ring()
