"""A stream of bytes gives the same lines however it is cut, and holds no line that is too long."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core import lines
from avocet_grpc.core.lines import LineCutter, read_lines


def cut(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    return [(one.number, one.line.raw) for one in read_lines(pieces)]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_the_lines_are_the_same_however_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert b"".join(pieces) == data
    whole = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert cut(pieces) == [(number, line) for number, line in enumerate(whole, 1) if line.strip()]


def test_a_line_that_is_too_long_is_malformed_wherever_it_is_cut_and_is_not_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    for pieces in ([b"a" * 7, b"b" * 7, b"c\nshort\n"], [b"a" * 15 + b"\nshort"], [b"a" * 11, b"\nshort\n"]):
        assert cut(pieces) == [(1, b""), (2, b"short")]
    assert cut([b"a" * 10 + b"\n"]) == [(1, b"a" * 10)]
    cutter = LineCutter()
    for _ in range(100):
        assert list(cutter.feed(b"x" * 10)) == []
        assert sum(map(len, cutter._rest)) <= 10
