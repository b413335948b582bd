"""Digests of a file's blocks: whether a large file is still as it was noted, at the price of reading it.

Nothing else shows a change of the same length inside a file that also grows in the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable

from xxhash import xxh3_128_digest

from avocet_grpc.mirror.fs.disk import Disk

BLOCK_BYTES = 32 * 1024
READ_BYTES = 1024 * 1024

Span = tuple[int, int]
"""A place in a file: its offset and length in bytes."""


class BlockDigests:
    """The digests of the first `size` bytes of a file; the last block may be shorter than the others.

    `origin` stays the same as long as the file is only patched and appended to since it was read as a whole.
    """

    def __init__(self, size: int = 0, origin: object = None, whole: Iterable[bytes] = (), last: bytes = b"") -> None:
        self.size = size
        self.origin = origin or object()
        self._whole = list(whole)
        self._last = last

    @classmethod
    def of(cls, disk: Disk, descriptor: int) -> BlockDigests:
        """Return those of a whole open file. Raises OSError."""
        blocks = cls()
        while data := disk.read(descriptor, READ_BYTES, blocks.size):
            blocks.feed(data)
        return blocks

    def copy(self) -> BlockDigests:
        """Return a copy, to be changed."""
        return BlockDigests(self.size, self.origin, self._whole, self._last)

    def feed(self, data: bytes) -> None:
        """Add what follows behind `size`."""
        self.size += len(data)
        data = self._last + data if self._last else data
        end = len(data) - len(data) % BLOCK_BYTES
        view = memoryview(data)
        self._whole += [xxh3_128_digest(view[at : at + BLOCK_BYTES]) for at in range(0, end, BLOCK_BYTES)]
        self._last = bytes(view[end:])

    def matches(self, disk: Disk, descriptor: int, start: int, stop: int) -> bool:
        """Return whether the blocks that hold the bytes from `start` to `stop` are in the file as they are here.

        What lies behind `size` is not known, and passes. Raises OSError.
        """
        numbers = range(start // BLOCK_BYTES, -(-min(stop, self.size) // BLOCK_BYTES))
        return all(self._matches(disk, descriptor, number) for number in numbers)

    def read_again(self, disk: Disk, descriptor: int, places: Iterable[Span]) -> None:
        """Those places were changed by us, and nothing else of their blocks. Raises OSError."""
        numbers = {n for at, length in places for n in range(at // BLOCK_BYTES, (at + length) // BLOCK_BYTES + 1)}
        for number in numbers:
            data = self._read(disk, descriptor, number)
            if number < len(self._whole):
                self._whole[number] = xxh3_128_digest(data)
            elif number == len(self._whole):
                self._last = data

    def _matches(self, disk: Disk, descriptor: int, number: int) -> bool:
        data = self._read(disk, descriptor, number)
        return xxh3_128_digest(data) == self._whole[number] if number < len(self._whole) else data == self._last

    def _read(self, disk: Disk, descriptor: int, number: int) -> bytes:
        length = min(BLOCK_BYTES, self.size - number * BLOCK_BYTES)
        return disk.read(descriptor, length, number * BLOCK_BYTES) if length > 0 else b""
