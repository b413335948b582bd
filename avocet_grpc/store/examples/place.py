"""The directories of the files of examples: one for each process, which it locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

NAMES = ROWS, BODIES, IDS, FACETS = ("rows", "examples", "ids", "facets")
SLOTS = 64
"""Processes that have files of their own below one directory."""


class Place:
    """A directory for the files of one process: no other process has it as long as this one lives."""

    def __init__(self, parent: Path) -> None:
        """Take the first one that is free. Raises OSError."""
        parent.mkdir(mode=0o700, exist_ok=True)
        for number in range(SLOTS):
            self.path = parent / f"{number}"
            self.path.mkdir(mode=0o700, exist_ok=True)
            if (lock := _locked(self.path)) is not None:
                self._lock = lock
                return
        raise OSError("too many processes keep files of examples in one directory")

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)

    def remove(self) -> None:
        """Remove the files, if there are any."""
        _remove_files(self.path)

    def remove_others(self) -> None:
        """The first process removes the files of places that nobody has."""
        for number in range(1, SLOTS if self.path.name == "0" else 0):
            path = self.path.with_name(f"{number}")
            if not path.exists():
                return
            with contextlib.suppress(OSError):
                if (path / ROWS).exists() and (lock := _locked(path)) is not None:
                    _remove_files(path)
                    os.close(lock)


def _locked(directory: Path) -> int | None:
    """Return the lock of the directory; None if another process has it. Raises OSError."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return lock


def _remove_files(directory: Path) -> None:
    for name in NAMES:
        with contextlib.suppress(OSError):
            (directory / name).unlink()
