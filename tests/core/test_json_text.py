"""JSON text for the wire: no lone surrogates, and in strict JSON no NaN."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.json_text import (
    canonical_json,
    canonical_messages,
    python_json,
    strict_json,
    without_surrogates,
)

HALVES = st.text(st.characters(codec=None) | st.sampled_from(["\\", '"', "\ud800", "\udfff"]))
TEXT = HALVES | st.sampled_from(["NaN", "\\ud800"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def replaced(value: object) -> object:
    """The same by another way: over the values."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [replaced(each) for each in value]
    if isinstance(value, dict):
        return {replaced(key): replaced(each) for key, each in value.items()}
    return value


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")


@given(JSON)
def test_a_lone_surrogate_is_replaced_wherever_it_stands(value: object) -> None:
    # Two halves side by side are one character once they are written.
    value = json.loads(json.dumps(value))
    assert repr(without_surrogates(value)) == repr(replaced(value))
    assert repr(json.loads(python_json(value))) == repr(replaced(value))


@given(JSON)
def test_strict_json_has_null_for_what_json_lacks_and_is_else_the_same(value: object) -> None:
    text = strict_json(value)
    text.encode("ascii")
    read = json.loads(text, parse_constant=refuse)
    assert read == json.loads(json.dumps(replaced(json.loads(json.dumps(value)))), parse_constant=lambda _: None)


@given(JSON)
def test_canonical_text_is_equal_for_equal_values(value: object) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


def test_text_that_only_looks_like_an_escape_stays() -> None:
    assert json.loads(python_json(["\\ud800", "\\\ud800", "NaN \ud83d\ude00"])) == [
        "\\ud800",
        "\\\ufffd",
        "NaN \U0001f600",
    ]
    assert strict_json(["NaN", float("nan"), '"NaN', {"Infinity": float("-inf")}]) == (
        '["NaN", null, "\\"NaN", {"Infinity": null}]'
    )


def test_keys_that_become_the_same_are_one_key() -> None:
    assert python_json(dict([("\ud800", 1), ("\udbff", 2)])) == '{"\\ufffd": 2}'


ASCII = st.text(st.characters(max_codepoint=0x7F)) | HALVES


@given(st.lists(st.dictionaries(ASCII, ASCII | JSON, max_size=3), max_size=3))
def test_messages_have_the_canonical_text_of_any_value(messages: list[dict[str, object]]) -> None:
    assert canonical_messages(messages) == canonical_json(messages).encode("ascii")


@pytest.mark.parametrize("write", [python_json, strict_json, canonical_json])
def test_nesting_to_500_is_written(write: object) -> None:
    value: object = ["\ud800", float("nan")]
    for _ in range(499):
        value = [value]
    assert callable(write)
    assert write(value).count("[") == 500
