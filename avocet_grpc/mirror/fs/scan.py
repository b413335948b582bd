"""Reading a shared file line by line, whatever its size and however long its lines are, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from xxhash import xxh3_128, xxh3_128_digest

from avocet_grpc.core.model import ParsedLine
from avocet_grpc.core.record import MAX_LINE_BYTES, digest_of, parse
from avocet_grpc.mirror.fs.block_digests import BlockDigests
from avocet_grpc.mirror.fs.disk import Disk, FileChanged
from avocet_grpc.mirror.fs.signature import END_BYTES

CHUNK_BYTES = 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line that stands in a file: its place in bytes, and the digest of its bytes.

    `raw` is None for a line that is too long to hold. `number` counts the lines from where the scan began, blank ones
    too, from 1; 0 if it is not known.
    """

    offset: int
    length: int
    digest: bytes
    raw: bytes | None
    number: int = 0

    def parsed(self) -> ParsedLine:
        """Return the line, read. One that is too long is malformed, and comes without its bytes."""
        return ParsedLine(b"", self.digest, None) if self.raw is None else parse(self.raw)


class Seen:
    """What a scan of a whole file has seen: the digests of its blocks, and its last bytes.

    The end must come from the bytes that were compared. Other programs may rewrite the file before it is read once
    more. What they wrote behind the new end would then count as appended.
    """

    def __init__(self) -> None:
        self.blocks = BlockDigests()
        self.end = b""

    def feed(self, data: bytes) -> None:
        """Add what follows."""
        self.blocks.feed(data)
        self.end = (self.end + data[-END_BYTES:])[-END_BYTES:]


class LineScanner:
    """The lines of an open file between two offsets, blank ones left out, and a byte-order mark at its start too.

    After iteration, `end` is the offset behind the last newline, `newlines` counts those, and `rest` is the line that
    stands behind the last one, None if it is blank. `see` is handed all that is read.
    """

    def __init__(
        self, disk: Disk, descriptor: int, start: int, stop: int, see: Callable[[bytes], None] | None = None
    ) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._stop = stop
        self._see = see
        self._long: _LongLine | None = None
        self.end = start
        self.newlines = 0
        self.rest: Line | None = None

    def __iter__(self) -> Iterator[Line]:
        at, parts, held = self.end, [b""], 0
        while at < self._stop:
            chunk = self._disk.read(self._descriptor, min(CHUNK_BYTES, self._stop - at), at)
            if not chunk:
                raise FileChanged
            if self._see is not None:
                self._see(chunk)
            at += len(chunk)
            if b"\n" not in chunk:
                parts, held = self._hold(parts, held, chunk)
                continue
            lines = chunk.split(b"\n")
            lines[0] = self._ended(parts, lines[0])
            if self._long is not None and (line := self._end_long(lines.pop(0))) is not None:
                yield line
            last = lines.pop()
            for raw in lines:
                offset, self.end, self.newlines = self.end, self.end + len(raw) + 1, self.newlines + 1
                if raw and not raw.isspace() and (line := _line(offset, raw, self.newlines)) is not None:
                    yield line
            parts, held = [last], len(last)
        self.rest = self._rest(b"".join(parts))

    def _hold(self, parts: list[bytes], held: int, chunk: bytes) -> tuple[list[bytes], int]:
        """Keep the beginning of a line, up to the limit; from there on its digest alone."""
        if self._long is None and held + len(chunk) <= MAX_LINE_BYTES:
            parts.append(chunk)
            return parts, held + len(chunk)
        if self._long is None:
            self._long = _LongLine()
            self._long.feed(b"".join(parts))
        self._long.feed(chunk)
        return [b""], 0

    def _ended(self, parts: list[bytes], last: bytes) -> bytes:
        return last if self._long is not None else b"".join([*parts, last])

    def _end_long(self, last: bytes) -> Line | None:
        long, self._long = self._long, None
        assert long is not None
        long.feed(last)
        offset, self.end, self.newlines = self.end, self.end + long.length + 1, self.newlines + 1
        return None if long.is_blank else Line(offset, long.length, long.digest(), None, self.newlines)

    def _rest(self, raw: bytes) -> Line | None:
        number, long = self.newlines + 1, self._long
        if long is not None:
            return None if long.is_blank else Line(self.end, long.length, long.digest(), None, number)
        return _line(self.end, raw, number) if raw.strip() else None


class _LongLine:
    """What is kept of a line that is too long to hold."""

    def __init__(self) -> None:
        self.length = 0
        self.is_blank = True
        self._hash = xxh3_128()

    def feed(self, data: bytes) -> None:
        self.length += len(data)
        self.is_blank = self.is_blank and (not data or data.isspace())
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()


def _line(offset: int, raw: bytes, number: int) -> Line | None:
    if offset == 0 and raw.startswith(BYTE_ORDER_MARK):
        raw = raw[len(BYTE_ORDER_MARK) :]
        if not raw.strip():
            return None
        offset = len(BYTE_ORDER_MARK)
    if len(raw) > MAX_LINE_BYTES:
        return Line(offset, len(raw), digest_of(raw), None, number)
    return Line(offset, len(raw), digest_of(raw), raw, number)


def stands(disk: Disk, descriptor: int, offset: int, length: int, digest: bytes) -> bool:
    """Return whether a line with this digest stands at that place and ends there. Raises OSError."""
    if disk.read(descriptor, 1, offset + length) not in (b"\n", b""):
        return False
    if length <= CHUNK_BYTES:
        found = disk.read(descriptor, length, offset)
        return len(found) == length and xxh3_128_digest(found) == digest
    hash, stop = xxh3_128(), offset + length
    while offset < stop and (data := disk.read(descriptor, min(CHUNK_BYTES, stop - offset), offset)):
        hash.update(data)
        offset += len(data)
    return offset == stop and hash.digest() == digest


def read_line(disk: Disk, descriptor: int, offset: int, length: int, digest: bytes) -> Line:
    """Read a line whose place is known. Raises FileChanged if another one stands there by now, and OSError."""
    if length > MAX_LINE_BYTES:
        return Line(offset, length, digest, None)
    raw = disk.read(descriptor, length, offset)
    if digest_of(raw) != digest:
        raise FileChanged
    return Line(offset, length, digest, raw)
