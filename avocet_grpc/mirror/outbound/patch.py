"""Changing single lines in place, so that no plain reader ever sees half of it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.mirror.fs.block_digests import BlockDigests
from avocet_grpc.mirror.fs.disk import Disk, Lease
from avocet_grpc.mirror.fs.lease import TRIES_S, take_lease
from avocet_grpc.mirror.fs.scan import stands
from avocet_grpc.mirror.fs.signature import END_BYTES, Signature, signature, signature_of
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints

MAX_CHANGES = 64
"""How many lines are blanked under one lease."""
BLANK_BYTES = 1024 * 1024


class Outcome(enum.Enum):
    """What became of a patch."""

    DONE = enum.auto()
    CHANGED = enum.auto()
    """The file is not as noted; look at it again first."""
    MISPLACED = enum.auto()
    """The file is as noted, and a line is not where it should be, or its neighbours are others."""
    REFUSED = enum.auto()
    """Somebody has the file open."""
    UNSUPPORTED = enum.auto()
    """The file system has no leases for this file."""
    FAILED = enum.auto()
    """The disk refused the new lines; the file is as it was, but for its times."""


@dataclass(frozen=True, slots=True)
class Blank:
    """One line to overwrite with spaces: its place in bytes, and the digest that must stand there."""

    offset: int
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Patched:
    """The outcome. If DONE: the offset of each new line, the new signature, the digests of the blocks, and the last
    64 KB; if FAILED: the signature and the error."""

    outcome: Outcome
    offsets: tuple[int, ...] = ()
    signature: Signature | None = None
    blocks: BlockDigests | None = None
    end: bytes = b""
    error: OSError | None = None


def patch(
    session: Session,
    path: Path,
    noted: Signature,
    blanks: Sequence[Blank],
    new: Sequence[bytes],
    newline_first: bool,
    blocks: BlockDigests,
) -> Patched:
    """Write the new lines at the end and blank the old ones, while nobody has the file open.

    `newline_first` ends a torn last line before. Raises OSError.
    """
    disk = session.disk
    try:
        descriptor = disk.open_to_change(path)
    except FileNotFoundError:
        return Patched(Outcome.CHANGED)
    try:
        lease = take_lease(disk, session.clock, descriptor, TRIES_S)
        if lease is not Lease.GRANTED:
            return Patched(Outcome.REFUSED if lease is Lease.REFUSED else Outcome.UNSUPPORTED)
        try:
            # A plain stat: opening the path would wait for our own lease.
            if signature_of(disk, descriptor) != noted or signature(disk, path) != noted:
                return Patched(Outcome.CHANGED)
            failpoints.hit("patch.before")
            return apply(disk, descriptor, noted.size, blanks, new, newline_first, blocks)
        except OSError as error:
            now = signature_of(disk, descriptor)
            # Blanks are written once the new lines stand, so at the old size there are none either.
            if now.size != noted.size or not new:
                raise
            return Patched(Outcome.FAILED, signature=now, error=error)
        finally:
            disk.end_lease(descriptor)
    finally:
        disk.close(descriptor)


def apply(
    disk: Disk,
    descriptor: int,
    size: int,
    blanks: Sequence[Blank],
    new: Sequence[bytes],
    newline_first: bool,
    blocks: BlockDigests,
) -> Patched:
    """Make the changes in an open file of that size; nobody may read it meanwhile.

    Raises OSError; nothing is changed then.
    """
    for blank in blanks:
        if not blocks.matches(disk, descriptor, blank.offset, blank.offset + blank.length):
            return Patched(Outcome.MISPLACED)
        if not stands(disk, descriptor, blank.offset, blank.length, blank.digest):
            return Patched(Outcome.MISPLACED)
    blob = bytearray(b"\n" if newline_first and new else b"")
    offsets: list[int] = []
    for line in new:
        offsets.append(size + len(blob))
        blob += line + b"\n"
    try:
        disk.write_all(descriptor, bytes(blob), size)
    except OSError:
        disk.truncate(descriptor, size)
        raise
    failpoints.hit("patch.appended")
    for blank in blanks:
        _overwrite(disk, descriptor, blank)
        failpoints.hit("patch.blanked")
    after = blocks.copy()
    after.read_again(disk, descriptor, [(blank.offset, blank.length) for blank in blanks])
    if after.size == size:
        after.feed(bytes(blob))
    now = signature_of(disk, descriptor)
    start = max(0, now.size - END_BYTES)
    end = disk.read(descriptor, now.size - start, start)
    return Patched(Outcome.DONE, tuple(offsets), now, after, end)


def _overwrite(disk: Disk, descriptor: int, blank: Blank) -> None:
    at, left = blank.offset, blank.length
    while left > 0:
        part = min(left, BLANK_BYTES)
        disk.write_all(descriptor, b" " * part, at)
        at, left = at + part, left - part
