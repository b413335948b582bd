"""Files that are read again when they change: tokens, certificates, the ingestion secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from avocet_grpc.foreign_files import Unreadable

log = structlog.get_logger("avocet_grpc")

T = TypeVar("T")
Stamp = tuple[tuple[int, ...], ...]


class Watched(Generic[T]):
    """What `read` makes of the files at `paths`. Raises Unreadable if the first reading fails.

    A later reading that fails leaves `value` as it was and is repeated at each look, since not every change of a file
    shows. It is logged and counted in `failures` once until the files or the problem change.
    """

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._what, self._paths, self._read = what, paths, read
        self._stamp = self._look()
        self._problem = ""
        self.value = read()
        self.failures = 0

    def refresh(self, force: bool = False) -> None:
        """Read again if a file has changed since, if the last reading failed, or in any case. Raises nothing."""
        stamp = self._look()
        changed = stamp != self._stamp or force
        if not changed and not self._problem:
            return
        self._stamp = stamp
        try:
            self.value = self._read()
        except Exception as error:
            problem = str(error) if isinstance(error, Unreadable) else type(error).__name__
            if changed or problem != self._problem:
                self.failures += 1
                log.error("kept what was read before", what=self._what, error=problem)
            self._problem = problem
        else:
            self._problem = ""
            log.info("read again", what=self._what)

    def _look(self) -> Stamp:
        return tuple(_stamp(path) for path in self._paths)


def refuse_if_open_to_others(path: Path) -> None:
    """Raises Unreadable if others can read the file, or more than its owner can write it.

    What is not a file is refused as such: a directory or a device without the mode that others need is of no use.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    if not stat.S_ISREG(mode):
        raise Unreadable(f"cannot read {path}: {'is a directory' if stat.S_ISDIR(mode) else 'not a regular file'}")
    if mode & 0o027:
        raise Unreadable(f"{path} is open to others (mode {mode & 0o777:03o}): run 'chmod 600 {path}'")


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        seen = os.stat(path)
    except OSError:
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
