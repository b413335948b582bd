"""The files of examples: their bytes, their ids, the values that filters look at, and a row for each.

All are only appended to, a block at a time, and a block counts once its seal is behind its rows. Nothing is synced:
what a power cut leaves is told by the checksums, of the rows at a start, of a block before it is sent for the first
time. If anybody else changes a file meanwhile, its blocks are checked again. Whatever is wrong, the files are made
again from the ledger.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from io import FileIO
from typing import NamedTuple

from xxhash import xxh3_64, xxh3_64_intdigest

from avocet_grpc.store.examples.blocks import BLOCK, Blocks
from avocet_grpc.store.examples.layout import (
    EXAMPLE,
    REMOVAL,
    REMOVAL_ROW,
    ROW,
    SEAL,
    SEAL_ROW,
    VERSION,
    Array,
    checks,
)
from avocet_grpc.store.examples.numeric import np
from avocet_grpc.store.examples.place import BODIES, FACETS, IDS, NAMES, ROWS, Place

HEADER_BYTES = 112
"""At the start of the file of rows: the version and the ledger's incarnation."""
ROWS_AT_ONCE = 1 << 16
MOST_GAP = 32 * 1024
"""Bytes between two examples up to which both are read at once."""
MOST_AT_ONCE = 4 * 1024 * 1024
"""Of what is read at once, beside the last example, and the rest of the first and last block."""
MOST_KEPT = 2 * MOST_AT_ONCE
"""Bytes of its buffer that a thread keeps for the next read."""
LEAVE_FREE = 4
"""The files take no more than the fourth part of what is free on their disk."""


class Damaged(Exception):
    """The files are not what was written to them."""


class NoRoomOnDisk(OSError):
    """The files would take too much of the disk."""


class Found(NamedTuple):
    """What a start finds: the revision that the files are complete for, and the lines of the facets."""

    covered: int
    facets: bytes


class Stand(NamedTuple):
    """What tells a file of ours from one that somebody else has written to since: bytes, and a time in nanoseconds."""

    size: int
    changed_at: int


class Example(NamedTuple):
    """The bytes of an example to be stored, and its id with a newline behind it."""

    encoded: bytes
    id: bytes


class Segment:
    """The files of one ledger's examples. One thread appends; any thread reads what was appended."""

    def __init__(self, place: Place, incarnation: str, *, new: bool) -> None:
        """Open the files, or make new ones. Raises OSError."""
        self._place = place
        if new:
            place.remove()
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0)
        self._files = {name: FileIO(os.open(place.path / name, flags, 0o600), "r+") for name in NAMES}
        self._header = f"avocet examples {VERSION} {incarnation}\n".encode().ljust(HEADER_BYTES, b"\0")
        self._rows = self._end = self._ids_end = self._facets_end = 0
        self._facets_sum = xxh3_64()
        self._blocks = Blocks()
        self._local = threading.local()
        self._appending = threading.Lock()
        if new:
            self._write(ROWS, 0, self._header)
        self._left = {name: self._stand(name) for name in BLOCK}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return HEADER_BYTES + self._rows * ROW.itemsize + self._end + self._ids_end + self._facets_end

    def load(self) -> Found:
        """Read how far the files are complete, and go on from there. Raises Damaged, OSError."""
        if self._read(ROWS, 0, HEADER_BYTES) != self._header:
            raise Damaged
        last: Array | None = None
        for start, rows in self._valid_rows():
            seals = rows.view(SEAL_ROW)
            covering = np.flatnonzero((rows["kind"] == SEAL) & (seals["covered"] > 0))
            if len(covering):
                self._rows = start + int(covering[-1]) + 1
                last = seals[int(covering[-1])].copy()
        if last is None:
            raise Damaged
        self._end, self._ids_end, self._facets_end = (int(last[name]) for name in ("end", "ids_end", "facets_end"))
        facets = self._read(FACETS, 0, self._facets_end)
        self._facets_sum.update(facets)
        if self._facets_sum.intdigest() != int(last["facets_sum"]):
            raise Damaged
        if self._stand(BODIES).size < self._end or self._stand(IDS).size < self._ids_end:
            raise Damaged
        # What follows would be taken for the rest of what is appended next.
        os.ftruncate(self._files[ROWS].fileno(), HEADER_BYTES + self._rows * ROW.itemsize)
        return Found(int(last["covered"]), facets)

    def parts(self) -> Iterator[tuple[Array, Array]]:
        """Yield the rows of examples, and of removals, that `load` has found."""
        for start, rows in self._valid_rows():
            rows = rows[: max(0, self._rows - start)]
            seals = rows[rows["kind"] == SEAL].view(SEAL_ROW)
            self._blocks.add(seals[seals["ids_end"] > seals["ids_start"]], are_checked=False)
            yield rows[rows["kind"] == EXAMPLE], rows[rows["kind"] == REMOVAL].view(REMOVAL_ROW)

    def _valid_rows(self) -> Iterator[tuple[int, Array]]:
        """Yield the rows up to the first that is not valid, and the number of the first of each part."""
        start = 0
        while True:
            content = os.pread(
                self._files[ROWS].fileno(), ROWS_AT_ONCE * ROW.itemsize, HEADER_BYTES + start * ROW.itemsize
            )
            rows = np.frombuffer(content[: len(content) // ROW.itemsize * ROW.itemsize], ROW)
            is_wrong = (rows["check"] != checks(rows, start)) | (rows["kind"] == 0)
            count = int(is_wrong.argmax()) if is_wrong.any() else len(rows)
            if count:
                yield start, rows[:count]
            if count < ROWS_AT_ONCE:
                return
            start += count

    def append(self, rows: Array, examples: Sequence[Example], facets: bytes, covered: int) -> None:
        """Append a block: these rows of examples, whose places are filled in. `covered` as in SEAL_ROW.

        Raises OSError, or Damaged if the files have less than was written; they must not be used any more then.
        """
        bodies, ids = b"".join([each.encoded for each in examples]), b"".join([each.id for each in examples])
        if not self._has_room(len(bodies) + len(ids)):
            raise NoRoomOnDisk
        rows["size"], rows["id_size"] = [len(each.encoded) for each in examples], [len(each.id) for each in examples]
        rows["offset"] = self._end + np.cumsum(rows["size"], dtype="<i8") - rows["size"]
        rows["id_offset"] = self._ids_end + np.cumsum(rows["id_size"], dtype="<i8") - rows["id_size"]
        rows["kind"] = EXAMPLE
        seal = np.zeros(1, SEAL_ROW)
        seal["kind"], seal["covered"] = SEAL, covered
        seal["start"], seal["end"] = self._end, self._end + len(bodies)
        seal["ids_start"], seal["ids_end"] = self._ids_end, self._ids_end + len(ids)
        seal["sum"], seal["ids_sum"] = xxh3_64_intdigest(bodies), xxh3_64_intdigest(ids)
        self._facets_sum.update(facets)
        seal["facets_end"], seal["facets_sum"] = self._facets_end + len(facets), self._facets_sum.intdigest()
        with self._appending:
            self._write_block(bodies, ids)
        self._write(FACETS, self._facets_end, facets)
        self._write_rows(np.concatenate([rows, seal.view(ROW)]))
        self._end, self._ids_end = self._end + len(bodies), self._ids_end + len(ids)
        self._facets_end += len(facets)
        if ids:
            self._blocks.add(seal, are_checked=True)

    def _write_block(self, bodies: bytes, ids: bytes) -> None:
        for name in BLOCK:
            self._note_changes(name)
        # Behind the end of a file that was cut, zeros would come before what is written.
        if self._left[BODIES].size < self._end or self._left[IDS].size < self._ids_end:
            raise Damaged
        self._write(BODIES, self._end, bodies)
        self._write(IDS, self._ids_end, ids)
        self._left = {name: self._stand(name) for name in BLOCK}

    def _note_changes(self, name: str) -> None:
        """Trust no block of a file that somebody else has written to. The caller holds `_appending`."""
        if (stand := self._stand(name)) != self._left[name]:
            self._blocks.forget_checks(name)
            self._left[name] = stand

    def remove(self, removals: Sequence[tuple[int, int]]) -> None:
        """Append that these rows are not seen from a revision on. Raises OSError, as `append`."""
        if not removals:
            return
        rows = np.zeros(len(removals), REMOVAL_ROW)
        rows["kind"] = REMOVAL
        rows["row"], rows["revision"] = [row for row, _ in removals], [revision for _, revision in removals]
        self._write_rows(rows.view(ROW))

    def _write_rows(self, rows: Array) -> None:
        rows["check"] = checks(rows, self._rows)
        self._write(ROWS, HEADER_BYTES + self._rows * ROW.itemsize, rows.tobytes())
        self._rows += len(rows)

    def read(self, name: str, begins: Array, ends: Array) -> bytes:
        """Return stretches of a file, joined. Each has whole examples, or whole ids. Raises Damaged."""
        if len(begins) == 1:
            return self.read_one(name, begins.item(), ends.item())
        with self._appending:
            self._note_changes(name)
        return b"".join(self._pieces(name, begins, ends))

    def read_one(self, name: str, begin: int, end: int) -> bytes:
        """Return one stretch of a file. Raises Damaged."""
        with self._appending:
            self._note_changes(name)
        if self._blocks.has_unchecked(name, begin, end):
            return bytes(self._viewed(name, begin, end))
        return self._read(name, begin, end - begin)

    def _pieces(self, name: str, begins: Array, ends: Array) -> Iterator[bytes]:
        """Yield the stretches in few reads: a read costs as much as some KB that nobody wants."""
        gaps = begins[1:] - ends[:-1]
        apart = (gaps < 0) | (gaps > MOST_GAP) | (begins[1:] // MOST_AT_ONCE != begins[:-1] // MOST_AT_ONCE)
        spans = [0, *(np.flatnonzero(apart) + 1).tolist(), len(begins)]
        froms, tos = begins.tolist(), ends.tolist()
        for first, last in itertools.pairwise(spans):
            start = froms[first]
            view = self._viewed(name, start, tos[last - 1])
            yield b"".join(
                [view[a - start : b - start] for a, b in zip(froms[first:last], tos[first:last], strict=True)]
            )

    def _viewed(self, name: str, begin: int, end: int) -> memoryview:
        """Return a stretch of a file, good until the next call of the thread. Raises Damaged.

        What was not checked before is read to the end of its block, and checked.
        """
        blocks = self._blocks.unchecked(name, begin, end)
        start = min(begin, blocks[0].start) if blocks else begin
        view = self._in_buffer(name, start, (max(end, blocks[-1].end) if blocks else end) - start)
        for block in blocks:
            if xxh3_64_intdigest(view[block.start - start : block.end - start]) != block.sum:
                raise Damaged
            self._blocks.note_checked(name, block.number)
        return view[begin - start : end - start]

    def _in_buffer(self, name: str, offset: int, size: int) -> memoryview:
        """Return bytes of a file in this thread's own buffer: memory that is new each time costs as much as the read.

        Raises Damaged.
        """
        buffer = getattr(self._local, "buffer", b"")
        if len(buffer) < size:
            buffer = bytearray(size)
            if size <= MOST_KEPT:
                self._local.buffer = buffer
        view = memoryview(buffer)[:size]
        try:
            read = os.preadv(self._files[name].fileno(), [view], offset)
        except OSError as error:
            raise Damaged from error
        if read < size:
            raise Damaged
        return view

    def _has_room(self, size: int) -> bool:
        disk = os.statvfs(self._place.path)
        return disk.f_bavail * disk.f_frsize >= LEAVE_FREE * (self.size + size)

    def _stand(self, name: str) -> Stand:
        status = os.fstat(self._files[name].fileno())
        return Stand(status.st_size, status.st_mtime_ns)

    def _read(self, name: str, offset: int, size: int) -> bytes:
        """Return so many bytes of a file. Raises Damaged."""
        try:
            content = os.pread(self._files[name].fileno(), size, offset)
        except OSError as error:
            raise Damaged from error
        if len(content) < size:
            raise Damaged
        return content

    def _write(self, name: str, offset: int, content: bytes) -> None:
        if content and os.pwrite(self._files[name].fileno(), content, offset) < len(content):
            raise NoRoomOnDisk
