"""Cutting bytes that come in parts into the lines of a JSONL file."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from avocet_grpc.core.model import ParsedLine
from avocet_grpc.core.record import MAX_LINE_BYTES, digest_of, parse


class RunLine(NamedTuple):
    """A line of a run that is not blank: its number from 1, blank lines counted, and what is in it.

    A line of more than MAX_LINE_BYTES is malformed and has no `raw`: it is never held whole.
    """

    number: int
    line: ParsedLine


class LineCutter:
    """Cuts bytes into lines as they come: `feed` gives the lines that end in a part, `finish` the last one.

    The last line needs no newline. Of a line that is too long no more is held than shows that it is.
    """

    def __init__(self) -> None:
        self._number = 0
        self._rest: list[bytes] = []
        self._held = 0

    @property
    def held(self) -> int:
        """Bytes of the unfinished line that are in memory."""
        return self._held if self._rest else 0

    def feed(self, part: bytes) -> Iterator[RunLine]:
        """Yield the lines that end in this part. Read them all before the next part comes."""
        *ends, tail = part.split(b"\n")
        for end in ends:
            self._number += 1
            if (found := _line(self._number, self._rest, self._held, end)) is not None:
                yield found
            self._rest, self._held = [], 0
        self._held += len(tail)
        if self._held > MAX_LINE_BYTES:
            self._rest = []
        elif tail:
            self._rest.append(tail)

    def finish(self) -> Iterator[RunLine]:
        """Yield the line that the bytes ended in, if they did not end with a newline."""
        if self._held and (found := _line(self._number + 1, self._rest, self._held, b"")) is not None:
            yield found


def read_lines(parts: Iterable[bytes]) -> Iterator[RunLine]:
    """Yield the lines of a file whose bytes come in `parts`, cut anywhere."""
    cutter = LineCutter()
    for part in parts:
        yield from cutter.feed(part)
    yield from cutter.finish()


def _line(number: int, rest: list[bytes], held: int, end: bytes) -> RunLine | None:
    if held + len(end) > MAX_LINE_BYTES:
        return RunLine(number, ParsedLine(b"", digest_of(b""), None))
    raw = b"".join([*rest, end])
    if number == 1:
        raw = raw.removeprefix(BOM_UTF8)
    return RunLine(number, parse(raw)) if raw.strip() else None
