"""Looking at a shared file: its signature, some of its bytes, and whether somebody writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.mirror.fs.disk import Disk, Lease, Stat

END_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Signature:
    """What changes when a file changes; sizes in bytes, times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @property
    def mtime(self) -> float:
        """Unix time in seconds of the last change of the content."""
        return self.mtime_ns / 1e9

    def same_file(self, other: Signature) -> bool:
        """Return True for the same inode."""
        return (self.device, self.inode) == (other.device, other.inode)

    def has_grown_from(self, other: Signature) -> bool:
        """Return True for the same inode with more bytes."""
        return self.same_file(other) and self.size > other.size


def of_stat(found: Stat) -> Signature:
    """Return the signature in a stat."""
    return Signature(found.device, found.inode, found.size, found.mtime_ns, found.ctime_ns)


def signature(disk: Disk, path: Path) -> Signature | None:
    """Return the file's signature, None if there is no file. Raises OSError."""
    found = disk.stat(path)
    return None if found is None else of_stat(found)


def signature_of(disk: Disk, descriptor: int) -> Signature:
    """Return the signature of an open file. Raises OSError."""
    return of_stat(disk.fstat(descriptor))


def ends_inside_a_line(disk: Disk, descriptor: int, size: int) -> bool:
    """Return whether no newline stands before that byte of an open file: somebody is writing there. Raises OSError."""
    return size > 0 and disk.read(descriptor, 1, size - 1) != b"\n"


def read_range(disk: Disk, path: Path, start: int, end: int) -> bytes:
    """Return the bytes from `start` up to `end`, fewer if the file is shorter. Raises OSError."""
    parts: list[bytes] = []
    with disk.reading(path) as descriptor:
        while start < end and descriptor >= 0 and (part := disk.read(descriptor, end - start, start)):
            parts.append(part)
            start += len(part)
    return b"".join(parts)


def end_before(disk: Disk, path: Path, end: int) -> bytes:
    """Return the last 64 KB before `end`: what a grown file must still have there. Raises OSError."""
    return read_range(disk, path, max(0, end - END_BYTES), end) if end else b""


def is_or_grew(
    disk: Disk, path: Path, now: Signature | None, before: Signature | None, read_to: int, end: bytes
) -> bool:
    """Return whether a file that is `now` so was not changed since `before`, but for more bytes at its end.

    `end` is what stood before the byte `read_to`, as `end_before` gives it. Raises OSError.
    """
    if now == before:
        return True
    has_grown = now is not None and before is not None and now.has_grown_from(before)
    return has_grown and end_before(disk, path, read_to) == end


def has_writer(disk: Disk, path: Path) -> bool | None:
    """Return whether somebody has the file open for writing; None if the file system cannot tell.

    The kernel grants a read lease only while nobody does. Raises OSError.
    """
    with disk.reading(path) as descriptor:
        if descriptor < 0:
            return False
        answer = disk.read_lease(descriptor)
    return None if answer is Lease.UNSUPPORTED else answer is Lease.REFUSED
