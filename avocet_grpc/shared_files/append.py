"""Appending whole lines to a shared file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.shared_files.patch import LEASE_PATIENCE_S, take_lease
from avocet_grpc.shared_files.watch import Signature, of_stat
from avocet_grpc.telemetry import failpoints

MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the first line begins, the file's signature after the write, and whether it was under a lease.

    `error`: the disk refused the lines, and the file is as it was, but for its times.
    """

    offset: int
    signature: Signature
    leased: bool
    error: OSError | None = None


def append_lines(path: Path, lines: Sequence[bytes], newline_first: bool, noted: Signature | None) -> Appended | None:
    """Append the lines in one write, each ended by a newline; a file that is missing as `noted` (None) is created.

    None, and nothing is written, where others have since done more to it than to append: our own write would hide that.

    Under a lease where one is granted in time, since the kernel shows a reader a write page by page; else without.
    `newline_first` ends somebody's torn line before ours. Raises OSError; what was written of the lines is then taken
    back if nobody else has the file open.
    """
    blob = (b"\n" if newline_first else b"") + b"".join(line + b"\n" for line in lines)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        leased = take_lease(descriptor, LEASE_PATIENCE_S) is None
        found = of_stat(os.fstat(descriptor))
        if not _may_append(found, noted):
            return None
        failpoints.hit("append.before")
        written = 0
        try:
            while written < len(blob):
                written += os.write(descriptor, memoryview(blob)[written:])
        except OSError as error:
            if written:
                _take_back(descriptor, written)
            now = of_stat(os.fstat(descriptor))
            if not leased or found != noted or now.size != found.size:
                raise
            return Appended(now.size, now, leased, error)
        failpoints.hit("append.after")
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        return Appended(end - len(blob) + newline_first, of_stat(os.fstat(descriptor)), leased)
    finally:
        os.close(descriptor)


def _may_append(found: Signature, noted: Signature | None) -> bool:
    """Whether a look after our write will show all that others did. A growth shows, and holds nothing up."""
    if noted is None:
        return found.size == 0
    return found == noted or (found.same_file(noted) and found.size > noted.size)


def _take_back(descriptor: int, written: int) -> None:
    """Cut our half of a write off, under a lease: without one, somebody's line behind it could go too."""
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    if take_lease(descriptor, 0) is None and os.fstat(descriptor).st_size == end:
        os.ftruncate(descriptor, end - written)
