"""Lines are read and written in the dialect of Python's `json`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.model import Columns
from avocet_grpc.core.record import columns_of, content_digest, difference, is_same, load, parse, record_in, render

READ = {
    "NaN": b'{"id": "a", "x": NaN}',
    "Infinity": b'{"id": "a", "x": -Infinity}',
    "a lone surrogate": b'{"id": "a", "x": "\\ud800"}',
    "4,300 digits": b'{"id": "a", "x": ' + b"9" * 4300 + b"}",
    "duplicate keys": b'{"id": "b", "id": "a"}',
    "CRLF": b'{"id": "a"}\r',
    "nesting to 500": b'{"id": "a", "x": ' + b"[" * 499 + b"]" * 499 + b"}",
    "brackets in a string": b'{"id": "a", "x": "' + b"[" * 2000 + b'"}',
}
MALFORMED = {
    "a torn line": b'{"id": "a", "x',
    "a list": b"[1]",
    "no id": b'{"x": 1}',
    "an id that is no string": b'{"id": 1}',
    "an empty id": b'{"id": ""}',
    "an id of 513 characters": b'{"id": "' + b"x" * 513 + b'"}',
    "an id with a surrogate": b'{"id": "\\ud800"}',
    "an id with NUL": b'{"id": "a\\u0000"}',
    "a raw NUL": b'{"id": "a\0"}',
    "a BOM": b'\xef\xbb\xbf{"id": "a"}',
    "invalid UTF-8": b'{"id": "\xff"}',
    "4,301 digits": b'{"id": "a", "x": ' + b"9" * 4301 + b"}",
    "nesting of 501": b'{"id": "a", "x": ' + b"[" * 500 + b"]" * 500 + b"}",
    "nesting of 100,000": b"[" * 100_000,
}


@pytest.mark.parametrize("what", READ)
def test_what_python_reads_is_a_record(what: str) -> None:
    line = parse(READ[what])
    assert line.columns is not None
    assert line.columns.id == "a"


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_no_object_with_a_valid_id_is_malformed(what: str) -> None:
    line = parse(MALFORMED[what])
    assert line.columns is None
    assert line.raw == MALFORMED[what]


def test_the_content_digest_is_of_the_content_not_of_the_bytes() -> None:
    assert content_digest(load(b'{"id":"a","x":1}')) == content_digest(load(b'{"x": 1, "id": "\\u0061"}'))
    assert content_digest(load(b'{"id":"a","x":1}')) != content_digest(load(b'{"id":"a","x":2}'))


def digest_with(value: str) -> bytes:
    return content_digest(load(f'{{"id": "a", "x": {value}}}'.encode()))


EQUAL = [
    ("1", "1.0"), ("0", "-0.0"), ("-7", "-7e0"), ("9007199254740992", "9007199254740992.0"), ("1e300", str(int(1e300))),
    ("[1, {\"k\": 2}]", "[1.0, {\"k\": 2.0}]"), ("1e400", "Infinity"), ("NaN", "NaN"), ("[NaN, 1]", "[NaN, 1.0]"),
    ("[1, \"\\ud800\"]", "[1.0, \"\\ud800\"]"), ("[" * 499 + "1" + "]" * 499, "[" * 499 + "1.0" + "]" * 499),
]  # fmt: skip
DIFFERENT = [
    ("1", "true"), ("0", "false"), ("1", '"1"'), ("1.5", "1"), ("NaN", "null"), ("Infinity", "-Infinity"),
    ("9007199254740993", "9007199254740992.0"), ("[1]", "[true]"), ('{"1": 1}', '{"1.0": 1}'), ("0", "null"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_numbers_that_are_equal_have_one_digest_however_they_are_written(one: str, other: str) -> None:
    assert digest_with(one) == digest_with(other)
    assert is_same(json.loads(one), json.loads(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_values_of_other_kinds_or_of_other_size_have_other_digests(one: str, other: str) -> None:
    assert digest_with(one) != digest_with(other)
    assert not is_same(json.loads(one), json.loads(other))


def test_the_history_names_the_keys_whose_value_is_another_one() -> None:
    old = {"id": "a", "same": 1, "odd": float("nan"), "kind": 1, "size": 1}
    new = {"id": "a", "same": 1.0, "odd": float("nan"), "kind": True, "size": 2}
    assert json.loads(difference(old, new))["set"] == ["kind", "size"]


TYPES: st.SearchStrategy[object] = st.none() | st.text(max_size=3) | st.integers() | st.floats() | st.just([])


@given(st.dictionaries(st.sampled_from([*Columns.__struct_fields__, "x"]), TYPES, max_size=4))
def test_the_quick_way_to_the_columns_gives_what_reading_the_record_gives(record: dict) -> None:
    raw = json.dumps(record | {"id": "a"}).encode()
    assert parse(raw).columns == columns_of(json.loads(raw))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_what_we_write_is_one_ascii_line_with_the_same_content_in_the_same_order(record: dict) -> None:
    line = render({"id": "a"} | record | {"id": "a"})
    assert line.raw.isascii()
    assert b"\n" not in line.raw
    read = json.loads(line.raw)
    assert read == record_in(line)
    assert list(read) == list(record_in(line))
    assert parse(line.raw).digest == line.digest


SPELLINGS = (
    "-0", "-0.0", "1E400", "1e-400", "1.0", "0.1234567890123456789", "9007199254740993.0", "18446744073709551616",
    "-9223372036854775809", '"\\/\\u0000"', '"\\ud83d\\ude00"', '"\\ud800"', "NaN", '{"a": 1, "a": 2}', "9" * 4300,
)  # fmt: skip


@pytest.mark.parametrize("value", SPELLINGS)
def test_a_value_is_read_as_python_reads_it(value: str) -> None:
    raw = f'{{"id": "a", "x": {value}}}'
    assert repr(load(raw.encode())) == repr(json.loads(raw))


@given(st.dictionaries(st.text(), VALUES | st.floats(), max_size=5), st.booleans())
def test_every_record_is_read_as_python_reads_it(record: dict, ascii: bool) -> None:
    raw = json.dumps(record, ensure_ascii=ascii)
    assert repr(load(raw.encode("utf-8", "surrogatepass"))) == repr(json.loads(raw))
