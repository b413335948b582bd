"""Lines and examples as the ledger stores them: compressed by zstd, with a dictionary of what lines have in common.

A line alone is too short to find much in it twice. A dictionary that was trained on other lines gives it what came
before. Dictionaries are kept in the ledger by their numbers, which each compressed line names. A ledger of few records
has none; a later one is trained once there are ten times as many records, and older lines stay as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import zstandard

from avocet_grpc.core.record import MAX_LINE_BYTES
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.rows import DictionaryRow

LEVEL = 3
Buffer = bytes | bytearray | memoryview

FIRST_AT = 1_000
"""Records with which the first dictionary is due; each further one with ten times as many."""
DICTIONARY_BYTES = 32 * 1024
SAMPLES = 4_000
LEAST_SAMPLES = 100
SAMPLE_BYTES = 4 * 1024
"""What is looked at of a line."""
SAMPLED_AT_ONCE = 250
LONGEST_SAMPLED = 64 * 1024
LONGEST_EXAMPLE = 64 * 1024
"""Bytes of an example that is compressed: a larger one would need as much memory once more."""

NEWEST = "SELECT number, content FROM dictionaries ORDER BY number DESC LIMIT 1"
NUMBERED = "SELECT number, content FROM dictionaries WHERE number = :number"


class LineDamaged(sqlite3.DatabaseError):
    """A stored line is not what was stored: the same as a damaged page of the database."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class _Sample(NamedTuple):
    size: int
    raw: bytes


class KeptLines:
    """Lines that were unpacked, by their stored bytes: the latest ones, `most` bytes together.

    To unpack one lets go of the interpreter's lock, which has to be won back.
    """

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._lines: dict[bytes, bytes] = {}

    def get(self, stored: bytes) -> bytes | None:
        """Return the line, if it is kept."""
        return self._lines.get(stored)

    def keep(self, stored: bytes, line: bytes) -> None:
        """Keep a line. A long one is not: it would take the place of all others."""
        size = len(stored) + len(line)
        if size > self._most // 20:
            return
        self._lines[stored] = line
        self._size += size
        while self._size > self._most:
            oldest = next(iter(self._lines))
            self._size -= len(oldest) + len(self._lines.pop(oldest))


class CompressedLines:
    """Implements `store.sql.dialect.Lines` for one connection. One thread at a time may use it.

    `lenient`: a line that is damaged is given as it is stored, which is not a record. `kept_bytes`: how much to keep of
    what was read, since a page is often read again.
    """

    def __init__(self, session: Session, *, lenient: bool = False, kept_bytes: int = 0) -> None:
        self._session, self._lenient = session, lenient
        self._kept = KeptLines(kept_bytes)
        self._compressor: zstandard.ZstdCompressor | None = None
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}

    def packed(self, line: bytes) -> bytes:
        """See the protocol."""
        compressor = self._compressor or self._newest()
        return _shorter(line, b"" if len(line) > MAX_LINE_BYTES else compressor.compress(line))

    def packer(self, lines: Sequence[bytes]) -> Callable[[], list[bytes]]:
        """See the protocol. Other threads run while it compresses."""
        return partial(_packed, self._compressor or self._newest(), lines)

    def unpacked(self, size: int, stored: bytes, *, keep: bool = True) -> bytes:
        """See the protocol. `keep`: it may be asked for again. Raises LineDamaged."""
        if len(stored) == size:
            return stored
        if (known := self._kept.get(stored)) is not None and len(known) == size:
            return known
        try:
            frame = zstandard.get_frame_parameters(stored)
            # Whoever decompresses makes room for what the frame says, so that is checked first.
            if frame.content_size == size <= MAX_LINE_BYTES:
                line = self._decompressor(frame.dict_id).decompress(stored)
                if keep:
                    self._kept.keep(stored, line)
                return line
        except zstandard.ZstdError:
            pass
        if self._lenient:
            return stored
        raise LineDamaged("a stored line is damaged")

    def packed_example(self, encoded: bytes) -> bytes:
        """See the protocol."""
        if len(encoded) > LONGEST_EXAMPLE:
            return encoded
        return _shorter(encoded, (self._compressor or self._newest()).compress(encoded))

    def unpacked_example(self, stored: bytes) -> bytes:
        """See the protocol. Raises LineDamaged."""
        size = len(stored) if len(stored) > LONGEST_EXAMPLE else example_size(stored)
        return self.unpacked(size, stored, keep=False)

    def learn(self, last_key: int) -> None:
        """See the protocol."""
        number = due(self._session, last_key)
        if number is not None:
            self._session.insert("dictionaries", [trained(self._session, number, last_key)])
            self.forget()

    def forget(self) -> None:
        """Read the dictionaries again: there is a newer one, or one that was read is rolled back. Any thread may."""
        self._compressor = None
        self._decompressors = {}

    def _newest(self) -> zstandard.ZstdCompressor:
        row = self._session.one(DictionaryRow, NEWEST)
        dictionary = zstandard.ZstdCompressionDict(row.content) if row and row.content else None
        # The checksum also tells a dictionary that is not the one by which the line was compressed.
        compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=dictionary, write_checksum=True)
        self._compressor = compressor
        return compressor

    def _decompressor(self, number: int) -> zstandard.ZstdDecompressor:
        found = self._decompressors.get(number)
        if found is None:
            row = self._session.one(DictionaryRow, NUMBERED, {"number": number}) if number else None
            if number and row is None:
                raise zstandard.ZstdError("there is no such dictionary")
            dictionary = zstandard.ZstdCompressionDict(row.content) if row else None
            found = self._decompressors[number] = zstandard.ZstdDecompressor(dict_data=dictionary)
        return found


def example_size(stored: bytes) -> int:
    """Return the size of an example of at most LONGEST_EXAMPLE bytes, which is given as it is stored.

    Every encoded example begins with the tag of its field, 0x0a, and every frame of zstd with its magic number. A frame
    that is damaged has no size.
    """
    if not stored.startswith(zstandard.FRAME_HEADER):
        return len(stored)
    try:
        size: int = zstandard.frame_content_size(stored)
    except zstandard.ZstdError:
        return 0
    return size if 0 < size <= LONGEST_EXAMPLE else 0


def _packed(compressor: zstandard.ZstdCompressor, lines: Sequence[bytes]) -> list[bytes]:
    short: list[Buffer] = [line for line in lines if len(line) <= MAX_LINE_BYTES]
    found = iter(compressor.multi_compress_to_buffer(short, threads=1) if short else ())
    return [_shorter(line, b"" if len(line) > MAX_LINE_BYTES else next(found).tobytes()) for line in lines]


def _shorter(line: bytes, packed: bytes) -> bytes:
    """Return what to store. `packed` is empty for a line that is too long to be unpacked.

    A record that is put back as it was may be spelled longer than a line of a file: it must be read again.
    """
    return packed if packed and len(packed) < len(line) else line


def due_at(dictionaries: int) -> int:
    """Return with which record the next dictionary is due."""
    at: int = FIRST_AT * 10**dictionaries
    return at


def due(session: Session, last_key: int) -> int | None:
    """Return the number of the dictionary that is due; None if none is."""
    known = session.number("SELECT coalesce(max(number), 0) FROM dictionaries")
    return known + 1 if last_key >= due_at(known) else None


def trained(session: Session, number: int, last_key: int) -> DictionaryRow:
    """Return a dictionary of this number, from lines all over the ledger."""
    samples = _samples(session, last_key)
    if len(samples) < LEAST_SAMPLES:
        return DictionaryRow(number, b"")
    try:
        content = zstandard.train_dictionary(DICTIONARY_BYTES, samples, dict_id=number, level=LEVEL).as_bytes()
    except zstandard.ZstdError:
        content = b""
    return DictionaryRow(number, content)


def _samples(session: Session, last_key: int) -> list[Buffer]:
    keys = range(1, last_key + 1, max(1, last_key // SAMPLES))
    lines, found = CompressedLines(session), list[Buffer]()
    for start in range(0, len(keys), SAMPLED_AT_ONCE):
        where, values = among("key", keys[start : start + SAMPLED_AT_ONCE])
        query = f"SELECT size, raw FROM bodies WHERE {where} AND size <= :longest"
        rows: Mapping[str, int] = {**values, "longest": LONGEST_SAMPLED}
        found += [lines.unpacked(*row)[:SAMPLE_BYTES] for row in session.each(_Sample, query, rows)]
    return found
