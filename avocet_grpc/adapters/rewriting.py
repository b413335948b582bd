"""Reading and replacing a small file that another program may write at the same moment.

Such a program empties the file, then writes it. Nothing is read in between, and what it writes to a file that was
replaced under it is not lost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from avocet_grpc.durable import replace_content
from avocet_grpc.foreign_files import Unreadable, open_regular, read_open

WAIT_S = 3.0
"""How long a program may take to write the file before a change is refused."""
EMPTY_S = 2.0
"""A file that became empty so short a time ago is being written, also if the file system does not say so."""
PAUSE_S = 0.002
TRIES = 10
NO_ANSWER = frozenset({errno.EACCES, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""Nobody knows who writes the file: it is another user's, or its file system has no leases."""


Stamp = tuple[int, int]
"""A file's size and time of change."""


class BeingWritten(Exception):
    """Another program takes too long to write the file, or writes it again and again."""


class _Changed(Exception):
    """The file is not what was read any more."""


def read_settled(path: Path, wait_s: float = WAIT_S) -> bytes:
    """Return the content once nobody writes it, or after `wait_s` as it is then. Raises OSError."""
    until = time.monotonic() + wait_s
    while True:
        # Opened again each time: it may have been replaced.
        with open_regular(path) as file:
            seen, content = _stamp(file), read_open(file, path)
            is_settled = not _is_being_written(file) and _stamp(file) == seen
        if is_settled or time.monotonic() > until:
            return content
        time.sleep(PAUSE_S)


def change(path: Path, changed: Callable[[bytes], bytes]) -> None:
    """Replace the content, empty for a missing file, by what `changed` makes of it.

    Raises BeingWritten, with the file as others left it; Unreadable; OSError if it cannot be written; and what
    `changed` raises.
    """
    for _ in range(TRIES):
        with contextlib.suppress(_Changed), _opened(path) as file:
            if file is None:
                replace_content(path, changed(b""), check=lambda: _refuse_if_there(path))
                return
            _wait(file)
            seen = _stamp(file)
            _put(path, file, seen, changed(_content(file, path)))
            return
    raise BeingWritten


def _put(path: Path, file: BinaryIO, seen: Stamp, data: bytes) -> None:
    """Put a file with `data` in the place of `file`, which was read when it was as `seen`.

    Raises _Changed if that file has changed. If somebody wrote to it just when it was replaced, what they wrote is put
    in the place of `data` before.
    """
    replace_content(path, data, check=lambda: _refuse_if_changed(path, file, seen))
    with open_regular(path) as ours:
        ours_seen = _stamp(ours)
        if not _is_being_written(file) and _stamp(file) == seen:
            return
        _wait(file)
        _put(path, ours, ours_seen, _content(file, path))
    raise _Changed


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    try:
        file = open_regular(path)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file


def _content(file: BinaryIO, path: Path) -> bytes:
    try:
        return read_open(file, path)
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from error


def _wait(file: BinaryIO, wait_s: float = WAIT_S) -> None:
    """Raises BeingWritten if somebody writes the file for longer than this."""
    until = time.monotonic() + wait_s
    while _is_being_written(file):
        if time.monotonic() > until:
            raise BeingWritten
        time.sleep(PAUSE_S)


def _is_being_written(file: BinaryIO) -> bool:
    seen = os.fstat(file.fileno())
    return _has_writer(file) or (seen.st_size == 0 and 0 <= time.time() - seen.st_mtime < EMPTY_S)


def _has_writer(file: BinaryIO) -> bool:
    """Return whether somebody has the file open for writing, as far as the kernel says: it refuses a lease then."""
    # By default the signal of a broken lease would end this process; this one does nothing.
    fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in NO_ANSWER:
            return False
        if error.errno in (errno.EAGAIN, errno.EBUSY):
            return True
        raise
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _stamp(file: BinaryIO) -> Stamp:
    seen = os.fstat(file.fileno())
    return seen.st_size, seen.st_mtime_ns


def _refuse_if_changed(path: Path, file: BinaryIO, seen: Stamp) -> None:
    with contextlib.suppress(FileNotFoundError):
        if _has_writer(file) or _stamp(file) != seen or not os.path.samestat(os.stat(path), os.fstat(file.fileno())):
            raise _Changed


def _refuse_if_there(path: Path) -> None:
    if path.exists():
        raise _Changed
