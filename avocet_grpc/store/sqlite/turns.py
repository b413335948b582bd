"""Locks among the processes that have one ledger open.

They are on files of their own beside the ledger. Each opening of a file holds its own lock, so they also work between
two ledgers of one process. They end with the process, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from avocet_grpc.core.errors import StorageFailed


class Turns:
    """A context in which one process commits: those that wait get their turn in the order in which they came.

    The file is empty. After a failure of the storage it has a mark, and nobody gets a turn any more.
    """

    def __init__(self, ledger: Path) -> None:
        self._descriptor = _opened(ledger.with_name(f"{ledger.name}-turn"))
        self._ended = False

    def __enter__(self) -> None:
        """Hold the turn. SQLite's own lock makes those that wait try again and again, and starves some.

        Raises StorageFailed if the storage failed in any process: a later commit could hide what a failed sync lost.
        """
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if os.fstat(self._descriptor).st_size:
            self.__exit__()
            raise StorageFailed("the ledger has stopped")

    def __exit__(self, *_: object) -> None:
        # A turn that ended all turns is kept: the mark may not have reached the file.
        if not self._ended:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def end(self) -> None:
        """The storage failed: nobody may commit until a new start. The process that holds the turn keeps it."""
        self._ended = True
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, b"failed\n", 0)

    def begin(self) -> None:
        """Let commits begin again. Only who has the ledger open alone may do it. Raises OSError."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class Presence:
    """Whether others have the ledger open: the first checks and upgrades it, the last seals it."""

    def __init__(self, ledger: Path) -> None:
        self._descriptor = _opened(ledger.with_name(f"{ledger.name}-open"))

    def is_alone(self) -> bool:
        """Keep others out, if nobody else has the ledger open. `let_others_in` ends it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def let_others_in(self) -> None:
        """Be one of those that have the ledger open; waits for one that is alone."""
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """Be no longer one of them."""
        os.close(self._descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
