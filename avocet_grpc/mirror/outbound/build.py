"""Writing the file that will take the place of a shared one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.mirror.fs.block_digests import BlockDigests, Span
from avocet_grpc.mirror.fs.signature import END_BYTES
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.index import Moves
from avocet_grpc.mirror.outbound import reuse
from avocet_grpc.mirror.outbound.outbox import Unit
from avocet_grpc.mirror.outbound.patch import Outcome, apply
from avocet_grpc.mirror.outbound.reuse import Copy
from avocet_grpc.mirror.outbound.written import blanks_of, lines_of
from avocet_grpc.mirror.session import Session

COPY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Built:
    """A complete file beside the shared one, of `size` bytes and on the disk.

    `offsets` are those of the lines that are new in it, `moves` says which rows stand elsewhere. `blanked` are places
    that hold a line in the old file alone. `blank` counts the bytes without a line. `is_copy`: all of it was written.
    """

    path: Path
    size: int
    blocks: BlockDigests
    end: bytes
    newlines: int
    blank: int
    is_copy: bool
    offsets: tuple[int, ...] = ()
    moves: Moves | None = None
    blanked: tuple[Span, ...] = ()


def build_changed(session: Session, source: int, copy: Copy, image: FileImage, units: Sequence[Unit]) -> Built | None:
    """Make the changes in a copy of the shared file, which is closed then.

    Returns None if the copy, or the file, is not as the index has it. Raises OSError.
    """
    disk, size = session.disk, image.read_to
    blocks = image.blocks.copy()
    try:
        if not reuse.level(session, source, size, copy, blocks):
            return None
        blanks, new = blanks_of(units), lines_of(units)
        patched = apply(disk, copy.descriptor, size, blanks, new, image.ends_torn, blocks)
        disk.take_after(copy.descriptor, source)
        disk.sync(copy.descriptor)
    finally:
        disk.close(copy.descriptor)
    if patched.outcome is not Outcome.DONE or patched.signature is None or patched.blocks is None:
        return None
    newlines = image.newlines + len(new) + (image.ends_torn and bool(new))
    blank = image.blank + sum(one.length + 1 for one in blanks)
    spans = tuple((one.offset, one.length) for one in blanks)
    what = patched.signature.size, patched.blocks, patched.end, newlines, blank, copy.used_at > 0
    return Built(copy.path, *what, offsets=patched.offsets, blanked=spans)


def build_compact(session: Session, source: int, target: Path) -> Built:
    """Write every line in the order of the index to a new file, byte for byte. Raises OSError; nothing is left then."""
    disk = session.disk
    descriptor = disk.create(target)
    try:
        try:
            compaction = _Compaction(session, source, descriptor)
            compaction.run()
            disk.take_after(descriptor, source)
            disk.sync(descriptor)
            blocks = BlockDigests.of(disk, descriptor)
            start = max(0, compaction.size - END_BYTES)
            end = disk.read(descriptor, compaction.size - start, start)
        finally:
            disk.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            disk.unlink(target)
        raise
    return Built(target, compaction.size, blocks, end, compaction.lines, 0, True, moves=compaction.moves)


class _Compaction:
    """Copies lines from one open file to another; neighbours go in one piece."""

    def __init__(self, session: Session, source: int, target: int) -> None:
        self._session, self._source, self._target = session, source, target
        self._source_size = session.disk.fstat(source).size
        self._start = self._stop = self._written = 0
        self.size = self.lines = 0
        self.moves = session.index.begin_moves()

    def run(self) -> None:
        for place in self._session.index.in_order(self._session.file):
            if place.offset is None:
                continue
            if place.offset != self.size:
                self.moves.add(place.key, self.size)
            self._copy(place.offset, place.length)
        self._flush()

    def _copy(self, offset: int, length: int) -> None:
        if offset != self._stop:
            self._flush()
            self._start = offset
        self._stop = offset + length + 1
        self.size += length + 1
        self.lines += 1
        if self._stop > self._source_size:
            # The last line has no newline of its own.
            self._stop -= 1
            self._flush()
            self._session.disk.write_all(self._target, b"\n", self._written)
            self._written += 1
            self._start = self._stop = -1

    def _flush(self) -> None:
        """Copy the stretch that waits."""
        while self._start < self._stop:
            count = min(COPY_BYTES, self._stop - self._start)
            copied = self._session.disk.copy(self._source, self._start, self._target, self._written, count)
            self._start, self._written = self._start + copied, self._written + copied
