"""Lines that wait to be written to a shared file, each with the bytes that shall stand there."""

from __future__ import annotations

from avocet_grpc.core.model import File, Sync
from avocet_grpc.core.ports.files import LedgerLine, Reader
from avocet_grpc.shared_files.append import MAX_BYTES
from avocet_grpc.shared_files.patch import Change

AT_ONCE = 5_000

Pending = tuple[LedgerLine, bytes]


def collect(reader: Reader, file: File) -> list[Pending]:
    """What one round writes: the oldest lines that wait, up to a number and a size."""
    collected, size = list[Pending](), 0
    for line in reader.pending(file, AT_ONCE):
        raw = b"" if line.sync is Sync.REMOVE else reader.raw(line.key)
        size += len(raw) + 1
        if collected and size > MAX_BYTES:
            break
        collected.append((line, raw))
    return collected


def change_of(line: LedgerLine, raw: bytes) -> Change:
    """What becomes of a line that stands in the file."""
    assert line.offset is not None and line.length is not None and line.file_digest is not None
    return Change(line.offset, line.length, line.file_digest, None if line.sync is Sync.REMOVE else raw)
