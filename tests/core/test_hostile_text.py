"""Long texts of any form cost time and memory in proportion to their length, and no more."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.record import MAX_NESTING, MOST_DIGITS, has_too_many_digits, is_deeper
from tests.limited import limited
from tests.support import ROOT

CPU_SECONDS = 20
"""A linear way needs less than one; the ways before needed a minute, and held all other threads up meanwhile."""
MOST_BYTES = 1 << 30
TEXTS = {
    "rows of digits that are just not too long": "('0' * 4300 + ' ') * 3_600",
    "digits": "'1' * 16_000_000",
    "brackets in a string": "'[{' * 8_000_000",
    "quotes": "'\"' * 8_000_000",
    "backslashes": "'\\\\' * 8_000_000",
    "not ASCII": "'\\u4f60' * 2_500_000",
    "lone surrogates": "'\\ud800' * 2_500_000",
    "an ordinary letter beside NaN": "'x' * 16_000_000",
}
READING = """
import json
from avocet_grpc.core.json_text import canonical_json, python_json, strict_json
from avocet_grpc.core.record import content_digest, load, malformed_reason, parse, render
from avocet_client import strict_json as clients
text = {text}
line = parse(json.dumps({{"id": "a", "x": text}}).encode())
assert line.columns is not None, malformed_reason(line.raw)
record = load(line.raw)
content_digest(record)
render(record)
value = [text, float("nan"), "NaN"]
assert strict_json(value).endswith('null, "NaN"]')
assert clients.dumps(value).endswith('null, "NaN"]')
canonical_json(value)
"""


@pytest.mark.parametrize("what", TEXTS)
def test_a_record_of_a_long_text_is_read_and_written(what: str) -> None:
    program = READING.format(text=TEXTS[what])
    command = limited([sys.executable, "-c", program], RLIMIT_CPU=CPU_SECONDS, RLIMIT_AS=MOST_BYTES)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"


LENGTHS = st.sampled_from([1, 2, MOST_DIGITS - 1, MOST_DIGITS, MOST_DIGITS + 1, 2 * MOST_DIGITS + 3])


@given(st.lists(st.tuples(st.sampled_from([b"", b"x", b" x"]), LENGTHS), max_size=4))
def test_a_row_of_too_many_digits_is_found_wherever_it_stands(parts: list[tuple[bytes, int]]) -> None:
    raw = b"".join(before + b"7" * count for before, count in parts)
    assert has_too_many_digits(raw) == bool(re.search(rb"[0-9]{4301}", raw))


@given(st.text(alphabet='[]{}"\\a\n', max_size=20))
def test_only_brackets_outside_of_strings_nest(text: str) -> None:
    for depth in (MAX_NESTING - 1, MAX_NESTING, MAX_NESTING + 1):
        raw = b"[" * depth + text.encode()
        assert is_deeper(raw, MAX_NESTING) is (_deepest(raw) > MAX_NESTING)


def _deepest(raw: bytes) -> int:
    """The plain way: one character after the other."""
    depth = deepest = 0
    in_string = escaped = False
    for byte in raw:
        if in_string:
            in_string = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
