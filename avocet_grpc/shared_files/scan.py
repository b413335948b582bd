"""Reading a shared file line by line, whatever its size, in bounded memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.model import ParsedLine
from avocet_grpc.core.record import digest_of, parse

CHUNK_BYTES = 1024 * 1024


class FileChanged(Exception):
    """The file is no longer as it was when it was looked at; look again."""


@dataclass(frozen=True, slots=True)
class Found:
    """A line that stands in a file: its place in bytes and the digest of its bytes."""

    offset: int
    length: int
    digest: bytes


class LineScanner:
    """The lines of an open file between two offsets, blank ones left out.

    After it was gone through, `end` is the offset behind the last newline, and `rest` what stands behind that.
    `see`, where given, is handed all that is read.
    """

    def __init__(self, descriptor: int, start: int, stop: int, see: Callable[[bytes], None] | None = None) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._see = see
        self.end = start
        self.rest = b""

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        at, parts = self.end, [b""]
        while at < self._stop:
            chunk = os.pread(self._descriptor, min(CHUNK_BYTES, self._stop - at), at)
            if not chunk:
                raise FileChanged
            if self._see is not None:
                self._see(chunk)
            at += len(chunk)
            parts.append(chunk)
            if b"\n" not in chunk:
                continue
            lines = b"".join(parts).split(b"\n")
            parts = [lines.pop()]
            for line in lines:
                offset, self.end = self.end, self.end + len(line) + 1
                if line and not line.isspace():
                    yield offset, line
        self.rest = b"".join(parts)


def read_line(descriptor: int, found: Found) -> ParsedLine:
    """The line that was found, read. Raises FileChanged where another one stands there by now."""
    raw = os.pread(descriptor, found.length, found.offset)
    if digest_of(raw) != found.digest:
        raise FileChanged
    return parse(raw)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """The file, open for reading; -1 where there is none. Not to be kept: it stands in the way of our own lease."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
