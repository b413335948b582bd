"""A stream of bytes gives the same lines however it is cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.line_cutter import LineCutter


def cut(pieces: list[bytes], most: int = 1_000) -> list[bytes]:
    cutter = LineCutter(most)
    lines = [line for piece in pieces for line in cutter.feed(piece)]
    return lines + list(cutter.finish())


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_the_lines_are_the_same_however_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert b"".join(pieces) == data
    expected = data.split(b"\n")
    assert cut(pieces) == (expected[:-1] if not expected[-1] else expected)


def test_of_a_line_that_is_too_long_no_more_is_kept_than_shows_that_it_is() -> None:
    assert cut([b"a" * 7, b"b" * 7, b"c\nshort\n"], most=10) == [b"a" * 7 + b"b" * 4, b"short"]
    assert cut([b"a" * 10 + b"\n"], most=10) == [b"a" * 10]
