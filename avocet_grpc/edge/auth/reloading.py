"""Files that are read again when they change: tokens, certificates, the ingestion secret."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger("avocet_grpc")

T = TypeVar("T")
Stamp = tuple[tuple[int, ...], ...]


class Unreadable(Exception):
    """A file that the server was told to use cannot be used; the text is one line for its operator."""


class Watched(Generic[T]):
    """What `read` makes of the files at `paths`. Raises Unreadable where the first reading fails.

    A later reading that fails leaves `value` as it was, is logged once, and is counted in `failures`.
    """

    def __init__(self, what: str, paths: Sequence[Path], read: Callable[[], T]) -> None:
        self._what, self._paths, self._read = what, paths, read
        self._stamp = self._look()
        self.value = read()
        self.failures = 0

    def refresh(self, force: bool = False) -> None:
        """Read again if a file has changed since, or in any case."""
        stamp = self._look()
        if stamp == self._stamp and not force:
            return
        self._stamp = stamp
        try:
            self.value = self._read()
        except Unreadable as error:
            self.failures += 1
            log.error("kept what was read before", what=self._what, error=str(error))
        else:
            log.info("read again", what=self._what)

    def _look(self) -> Stamp:
        return tuple(_stamp(path) for path in self._paths)


def read_text(path: Path) -> str:
    """The file's text. Raises Unreadable."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is no UTF-8 text") from error


def refuse_if_open_to_others(path: Path) -> None:
    """Raises Unreadable where others can read the file, or more than its owner can write it."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    if mode & 0o027:
        raise Unreadable(f"{path} is open to others (mode {mode & 0o777:03o}): run 'chmod 600 {path}'")


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        seen = os.stat(path)
    except OSError:
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
