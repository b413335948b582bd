"""Looking at a shared file: its signature, its end, its lines, and whether somebody is writing it."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.ports.files import FileState

TAIL_BYTES = 64 * 1024
NO_LEASE_NOW = frozenset({errno.EAGAIN, errno.EBUSY})


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when a file changes; sizes in bytes, times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    def state(self, scanned: int, blank: int) -> FileState:
        """The signature with the byte up to which the file was read, and how many hold no line."""
        return FileState(self.device, self.inode, self.size, self.mtime_ns, self.ctime_ns, scanned, blank)

    def same_file(self, other: Signature) -> bool:
        """True for the same inode."""
        return (self.device, self.inode) == (other.device, other.inode)


def of_stat(found: os.stat_result) -> Signature:
    """The signature in a stat."""
    return Signature(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def signature(path: Path) -> Signature | None:
    """The file's signature; None where there is no file. Raises OSError otherwise."""
    try:
        return of_stat(os.stat(path))
    except FileNotFoundError:
        return None


def from_state(state: FileState) -> Signature:
    """The signature that the ledger noted."""
    return Signature(state.device, state.inode, state.size, state.mtime_ns, state.ctime_ns)


def read_range(path: Path, start: int, end: int) -> bytes:
    """The bytes from `start` up to `end`, fewer where the file is shorter. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        parts: list[bytes] = []
        while start < end and (part := file.read(end - start)):
            parts.append(part)
            start += len(part)
    return b"".join(parts)


def tail_before(path: Path, end: int) -> bytes:
    """The last 64 KB before `end`; what a grown file must still have there. Raises OSError."""
    return read_range(path, max(0, end - TAIL_BYTES), end) if end else b""


def has_writer(path: Path) -> bool | None:
    """Whether somebody has the file open for writing; None where the file system cannot tell.

    The kernel grants a read lease only while nobody does. Raises FileNotFoundError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except OSError as error:
        return True if error.errno in NO_LEASE_NOW else None
    finally:
        os.close(descriptor)
