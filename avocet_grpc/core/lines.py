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


def read_lines(parts: Iterable[bytes]) -> Iterator[RunLine]:
    """Yield the lines of a file whose bytes come in `parts`, cut anywhere. The last line needs no newline."""
    number = 0
    rest: list[bytes] = []
    held = 0
    for part in parts:
        *ends, tail = part.split(b"\n")
        for end in ends:
            number += 1
            if (found := _line(number, rest, held, end)) is not None:
                yield found
            rest, held = [], 0
        held += len(tail)
        if held > MAX_LINE_BYTES:
            rest = []
        elif tail:
            rest.append(tail)
    if held and (found := _line(number + 1, rest, held, b"")) is not None:
        yield found


def _line(number: int, rest: list[bytes], held: int, end: bytes) -> RunLine | None:
    if held + len(end) > MAX_LINE_BYTES:
        return RunLine(number, ParsedLine(b"", digest_of(b""), None))
    raw = b"".join([*rest, end])
    if number == 1:
        raw = raw.removeprefix(BOM_UTF8)
    return RunLine(number, parse(raw)) if raw.strip() else None
