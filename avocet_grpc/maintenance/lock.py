"""One service per data directory.

The lock is on the directory itself: one on a file in the private directory would vanish with it. The processes of a
service inherit it, so that a killed supervisor's directory stays taken until the last of them is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

from avocet_grpc.durable import NO_ROOM
from avocet_grpc.layout import DataDirectory

DYING_S = 5.0
"""How long the processes of a supervisor that is gone may take to end; they are being killed."""

PAUSE_S = 0.02


class DataDirectoryTaken(Exception):
    """Another server has the data directory; the text names it."""


class DataDirectoryLock:
    """Holds the data directory until `release`, or until the process and those that inherited it have ended.

    Raises DataDirectoryTaken, or OSError.
    """

    def __init__(self, data_dir: Path) -> None:
        self._owner = DataDirectory(data_dir).owner
        self._fd = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline = time.monotonic() + DYING_S
        while not self._taken():
            if time.monotonic() > deadline or not _is_dead(self._owner):
                os.close(self._fd)
                raise DataDirectoryTaken(f"another server has this data directory: {_named(self._owner)}")
            time.sleep(PAUSE_S)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fileno(self) -> int:
        """Return the descriptor that holds the lock, for processes to inherit."""
        return self._fd

    def name(self, address: str) -> None:
        """Note the process that holds the directory; not if the disk is full. Raises OSError.

        A note of root's, if root is killed, would keep the service of another user from starting.
        """
        self._owner.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            with self._owner.open("w", encoding="utf-8") as file:
                if os.geteuid() == 0:
                    of_directory = self._owner.parent.stat()
                    os.fchown(file.fileno(), of_directory.st_uid, of_directory.st_gid)
                file.write(f"process {os.getpid()} at {address}\n")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise

    def release(self) -> None:
        """Let another server have the directory; one that has it already stays named."""
        if _named(self._owner).startswith(f"process {os.getpid()} "):
            with contextlib.suppress(OSError):
                self._owner.unlink()
        os.close(self._fd)


def _is_dead(owner: Path) -> bool:
    """Return whether the process that `owner` names has ended; nobody may have waited for it yet."""
    found = re.match(r"process (\d+) ", _named(owner))
    if found is None:
        return False
    try:
        return Path(f"/proc/{found[1]}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except OSError:
        return True


def _named(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf-8", errors="replace").strip() or "its process is starting"
    except OSError:
        return "its process is starting or unknown"
