"""Both shared files: their life cycle, and what is reported of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avocet_grpc.core.observer import SILENT, Observer
from avocet_grpc.core.ports.mirror import MirrorLedger
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk

Progress = Callable[[str, int, int], None]
"""Told how far an adoption is: the file's name, bytes read so far, bytes in all. It MUST return at once."""


class Mirror:
    """Keeps the two files of one data directory level with the ledger. It has one thread: that of its caller.

    The caller waits between rounds: 0.25 s after a level one, 0.05 s after another, and it begins one soon after a
    commit. `lag_seconds` is for how long the files have lacked something, 0.0 if they lack nothing. `failures` counts
    rounds that failed; they are tried again. `written` counts the lines of the last round, and `is_urgent` is True if
    the next round must not be put off.
    """

    def __init__(
        self, ledger: MirrorLedger, data_dir: Path, disk: Disk, clock: Clock, observer: Observer = SILENT
    ) -> None:
        """Open nothing yet. `data_dir` must exist, and the caller must hold its lock."""
        raise NotImplementedError

    def adopt(self, progress: Progress | None = None) -> None:
        """Fence earlier mirrors, compare both files with the ledger, report, and mark the directory as in use.

        Call it once, before the service listens. Nothing is written to the files before both are compared. Raises
        OSError (NotARegularFile for a pipe, device or directory under a file's name), Fenced, or an error of the port.
        """
        raise NotImplementedError

    def round(self) -> bool:
        """One look at both files and one writing of them. True if nothing is left to do.

        An error of the disk or a refusal by the ledger is logged and counted; the next round tries again. Raises
        Fenced, after which this mirror must not be used, and StorageFailed, after which the service ends.
        """
        raise NotImplementedError

    def stop(self, timeout: float) -> bool:
        """Bring both files level with the ledger as it is now, compact and sync them, within `timeout` seconds.

        Call it when nobody writes to the ledger any more. True if it worked: the next start is a clean one. Closes the
        index in any case.
        """
        raise NotImplementedError
