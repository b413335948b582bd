"""What a search finds in a candidate, and what it passes over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.forms import searched_texts
from avocet_grpc.core.listing import folded, has_text
from avocet_grpc.core.model import Candidate

TEXTS = st.text(max_size=12)


def found(record: dict[str, Any], text: str, **dumps: Any) -> bool:
    return has_text(Candidate(1, json.dumps(record, **dumps).encode(), 1), folded(text))


@pytest.mark.parametrize(
    "record",
    [
        {"prompt_messages": [{"role": "user", "content": "Why is the Sky blue?"}]},
        {"prompt_messages": [{"role": "user", "content": [{"type": "text", "text": "the sky"}]}]},
        {"prompt_messages": [{"from": "human", "value": "the sky"}]},
        {"model_response": "the SKY"},
        {"model_response": [{"type": "text", "text": "sky"}]},
        {"corrected_response": "skyward"},
    ],
)
def test_a_text_is_found_in_the_prompt_the_response_and_the_correction(record: dict[str, Any]) -> None:
    assert found({"id": "a"} | record, "sky")
    assert found({"id": "a"} | record, "SkY")
    assert not found({"id": "a"} | record, "skies")


def test_ids_keys_and_other_fields_are_not_searched() -> None:
    record = {"id": "sky", "failure_reason": "sky", "sky": 1, "prompt_messages": [{"role": "sky", "content": "x"}]}
    assert not found(record, "sky")


def test_letters_outside_ascii_are_compared_exactly() -> None:
    assert found({"model_response": "Ärger"}, "Ärg")
    assert not found({"model_response": "Ärger"}, "ärg")


def test_a_text_that_the_line_escapes_is_found() -> None:
    line = rb'{"id": "a", "model_response": "\u0073ky and \/ and \"q\""}'
    for text in ("sky", "and /", '"q"'):
        assert has_text(Candidate(1, line, 1), folded(text))


def test_a_correction_that_is_a_number_is_searched_as_it_is_served() -> None:
    assert has_text(Candidate(1, b'{"id": "a", "corrected_response": 1e5}', 1), folded("100000"))


@given(st.lists(TEXTS, min_size=3, max_size=3), TEXTS, st.booleans())
def test_the_quick_look_at_the_line_refuses_nothing_that_is_there(texts: list[str], text: str, ascii: bool) -> None:
    prompt, response, correction = texts
    record = {
        "prompt_messages": [{"role": "user", "content": prompt}],
        "model_response": response,
        "corrected_response": correction,
    }
    expected = any(folded(text) in folded(each) for each in searched_texts(record))
    assert found(record, text, ensure_ascii=ascii) == expected
