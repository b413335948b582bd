"""One server per data directory.

The lock is on the directory itself: one on a file in the private directory would vanish with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from avocet_grpc.layout import DataDirectory


class DataDirectoryTaken(Exception):
    """Another server has the data directory; the text names it."""


class DataDirectoryLock:
    """Holds the data directory until `release`, or until the process ends. Raises DataDirectoryTaken, or OSError."""

    def __init__(self, data_dir: Path) -> None:
        self._owner = DataDirectory(data_dir).owner
        self._fd = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise DataDirectoryTaken(f"another server has this data directory: {_named(self._owner)}") from None

    def name(self, address: str) -> None:
        """Write down who holds the directory, for a second server to say."""
        self._owner.parent.mkdir(mode=0o700, exist_ok=True)
        self._owner.write_text(f"process {os.getpid()} at {address}\n", encoding="utf-8")

    def release(self) -> None:
        """Let another server have the directory."""
        with contextlib.suppress(OSError):
            self._owner.unlink()
        os.close(self._fd)


def _named(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8", errors="replace").strip() or "its process is starting"
    except OSError:
        return "its process is starting or unknown"
