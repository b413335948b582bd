"""Appending whole lines to a shared file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.mirror.fs.disk import Lease
from avocet_grpc.mirror.fs.lease import PATIENCE_S, take_lease
from avocet_grpc.mirror.fs.signature import Signature, ends_inside_a_line, signature_of
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints


@dataclass(frozen=True, slots=True)
class Appended:
    """Where our first line begins, the file's signature after the write, and whether it was made under a lease.

    `error`: the disk refused the lines, and the file is as it was, but for its times.
    """

    offset: int
    signature: Signature
    leased: bool
    error: OSError | None = None


def append_lines(
    session: Session, path: Path, blob: bytes, newline_first: bool, noted: Signature | None
) -> Appended | None:
    """Append whole lines in one write; a file that is missing as `noted` (None) is created.

    Returns None, and writes nothing, if others have since done more to it than to append whole lines: our own write
    would hide that, or tear the line that somebody is writing. The write is made under a lease if one is granted in
    time, since the kernel shows a reader a write page by page. `newline_first`: `blob` begins with a newline that ends
    somebody's torn line. Raises OSError; what was written is then taken back if nobody else has the file open.
    """
    disk = session.disk
    descriptor = disk.open_to_append(path)
    try:
        leased = take_lease(disk, session.clock, descriptor, PATIENCE_S) is Lease.GRANTED
        found = signature_of(disk, descriptor)
        if not _may_append(found, noted) or (found != noted and ends_inside_a_line(disk, descriptor, found.size)):
            return None
        failpoints.hit("append.before")
        written = 0
        try:
            while written < len(blob):
                written += disk.append(descriptor, blob[written:] if written else blob)
        except OSError as error:
            if written:
                _take_back(session, descriptor, written)
            now = signature_of(disk, descriptor)
            if not leased or found != noted or now.size != found.size:
                raise
            return Appended(now.size, now, leased, error)
        failpoints.hit("append.after")
        end = disk.position(descriptor)
        return Appended(end - len(blob) + newline_first, signature_of(disk, descriptor), leased)
    finally:
        disk.close(descriptor)


def _may_append(found: Signature, noted: Signature | None) -> bool:
    """Return whether a look after our write will show all that others did. A growth shows, and holds nothing up."""
    if noted is None:
        return found.size == 0
    return found == noted or found.has_grown_from(noted)


def _take_back(session: Session, descriptor: int, written: int) -> None:
    """Cut our half of a write off, under a lease: without one, somebody's line behind it could go too."""
    disk = session.disk
    end = disk.position(descriptor)
    granted = take_lease(disk, session.clock, descriptor, 0) is Lease.GRANTED
    if granted and disk.fstat(descriptor).size == end:
        disk.truncate(descriptor, end - written)
