"""Changing single lines in place, so that no plain reader ever sees half of it."""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.record import digest_of
from avocet_grpc.shared_files.blocks import Blocks
from avocet_grpc.shared_files.watch import NO_LEASE_NOW, Signature, of_stat
from avocet_grpc.telemetry import failpoints

MAX_CHANGES = 64
LEASE_PATIENCE_S = 0.3
"""Where nobody lets go of the file for so long, it is written without a lease: appended to, or swapped."""
LEASE_TRIES_S = 0.1
LEASE_PAUSE_S = 0.001
NO_LEASES = frozenset({errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


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
    """No leases on this file."""
    FAILED = enum.auto()
    """The disk refused the new lines; the file is as it was, but for its times."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line to blank: its place in bytes and the digest that must stand there; `new` is written at the end."""

    offset: int
    length: int
    digest: bytes
    new: bytes | None


@dataclass(frozen=True, slots=True)
class Patched:
    """The outcome; where DONE, the offset of each change's new line (None without one), then of each line that is
    new, and the new signature; where FAILED, that and the error."""

    outcome: Outcome
    offsets: tuple[int | None, ...] = ()
    signature: Signature | None = None
    error: OSError | None = None


def ignore_sigio() -> None:
    """Ignore the signal of a broken lease, whose default action ends the process. Only in the main thread."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def patch(path: Path, noted: Signature, changes: Sequence[Change], newline_first: bool, blocks: Blocks) -> Patched:
    """Write the new lines at the end and blank the old ones, while nobody has the file open.

    `newline_first` ends a torn last line before. `blocks` are kept true. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Patched(Outcome.CHANGED)
    try:
        if (refused := take_lease(descriptor, LEASE_TRIES_S)) is not None:
            return Patched(refused)
        try:
            # A plain stat: opening the path would wait for our own lease.
            if of_stat(os.fstat(descriptor)) != noted or of_stat(os.stat(path)) != noted:
                return Patched(Outcome.CHANGED)
            failpoints.hit("patch.before")
            return apply(descriptor, noted.size, changes, (), newline_first, blocks)
        except OSError as error:
            now = of_stat(os.fstat(descriptor))
            # Blanks are written once the new lines stand, so at the old size there are none either.
            if now.size != noted.size or all(change.new is None for change in changes):
                raise
            return Patched(Outcome.FAILED, signature=now, error=error)
        finally:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def refusal(path: Path) -> Outcome | None:
    """Why no write lease is to be had at this moment; None where one is. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return take_lease(descriptor, 0)
    finally:
        os.close(descriptor)


def take_lease(descriptor: int, patience_s: float) -> Outcome | None:
    """Take the write lease, under which whoever opens the file waits; None where it is granted, else why not.

    It ends with the descriptor. Raises OSError.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            return None
        except OSError as error:
            if error.errno in NO_LEASES:
                return Outcome.UNSUPPORTED
            if error.errno not in NO_LEASE_NOW:
                raise
        if time.monotonic() > deadline:
            return Outcome.REFUSED
        time.sleep(LEASE_PAUSE_S)


def apply(
    descriptor: int,
    size: int,
    changes: Sequence[Change],
    new: Sequence[bytes],
    newline_first: bool,
    blocks: Blocks,
) -> Patched:
    """Make the changes in an open file of that size, and append the lines that are `new`; nobody may read it meanwhile.

    Raises OSError; nothing is changed then.
    """
    for change in changes:
        if not blocks.matches(descriptor, change.offset, change.offset + change.length):
            return Patched(Outcome.MISPLACED)
        found = os.pread(descriptor, change.length + 1, change.offset)
        if found[change.length :] not in (b"\n", b"") or digest_of(found[: change.length]) != change.digest:
            return Patched(Outcome.MISPLACED)
    blob = bytearray(b"\n" if newline_first else b"")
    offsets: list[int | None] = []
    for line in [*(change.new for change in changes), *new]:
        offsets.append(None if line is None else size + len(blob))
        if line is not None:
            blob += line + b"\n"
    if all(offset is None for offset in offsets):
        blob.clear()
    try:
        write_at(descriptor, bytes(blob), size)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    failpoints.hit("patch.appended")
    for change in changes:
        write_at(descriptor, b" " * change.length, change.offset)
        failpoints.hit("patch.blanked")
    blocks.blank([(change.offset, change.length) for change in changes], descriptor)
    if blocks.size == size:
        blocks.feed(bytes(blob))
    return Patched(Outcome.DONE, tuple(offsets), of_stat(os.fstat(descriptor)))


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it there. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)
