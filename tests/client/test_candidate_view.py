"""What a reviewer sees of records of any form."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from avocet_client.cli.candidate_view import candidate_panel
from avocet_client.cli.review.message_draft import read_message, template
from avocet_client.v1 import corrections_pb2 as pb

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds numbers.", "parameters": {"a": {}}}}


def seen(**fields: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=120).print(candidate_panel(pb.Candidate(id="a", **fields)))
    return out.getvalue()


def test_messages_are_shown_with_their_text_parts_calls_and_names() -> None:
    parts = [{"type": "text", "text": "2+2?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    shown = seen(
        prompt_messages=[
            pb.ChatMessage(role="user", content_json=json.dumps(parts), extra_json='{"name": "kim"}'),
            pb.ChatMessage(role="assistant", content_json="null", extra_json=json.dumps({"tool_calls": [CALL]})),
            pb.ChatMessage(role="tool", content="4", extra_json='{"tool_call_id": "call_1"}'),
        ],
        tools_json=json.dumps([TOOL, {"odd": 1}]),
    )
    for text in ("2+2?", '"image_url"', "name: kim", 'add({"a": 2})', "tool_call_id: call_1"):
        assert text in shown
    assert 'add({"a": {}}): Adds numbers.' in shown
    assert '{"odd": 1}' in shown
    assert "None" not in shown


def test_a_prompt_of_another_form_is_shown_as_json() -> None:
    shown = seen(prompt_json='[{"question": "2+2?"}]')
    assert '"question": "2+2?"' in shown
    assert "not read" in shown


RESPONSES = {
    "text": ({"model_response": "five"}, "five"),
    "parts": ({"model_response": "five", "model_response_json": '[{"type": "text", "text": "five"}]'}, "five"),
    "calls": ({"model_response_json": json.dumps([CALL])}, 'add({"a": 2})'),
    "a number": ({"model_response_json": "5"}, "5"),
    "an odd call": ({"model_response_json": '{"tool_calls": ["add"]}'}, '"add"'),
}


@pytest.mark.parametrize("what", RESPONSES)
def test_a_response_of_any_form_is_shown(what: str) -> None:
    fields, text = RESPONSES[what]
    assert text in seen(**fields)


def test_a_correction_with_calls_is_shown_as_calls() -> None:
    message = pb.ChatMessage(role="assistant", extra_json=json.dumps({"tool_calls": [CALL]}))
    shown = seen(corrected_response=json.dumps([CALL]), corrected_message=message, reviewed_by="kim")
    assert 'add({"a": 2})' in shown and '"function"' not in shown
    assert "decided: kim" in shown


def test_a_message_is_typed_from_the_models_own_calls_or_the_first_tool() -> None:
    own = read_message(template(pb.Candidate(model_response_json=json.dumps([CALL]))))
    assert own["tool_calls"] == [CALL]
    first = read_message(template(pb.Candidate(model_response="five", tools_json=json.dumps([TOOL]))))
    assert first["tool_calls"][0]["function"] == {"name": "add", "arguments": "{}"}
    assert read_message(template(pb.Candidate()))["role"] == "assistant"


@pytest.mark.parametrize("typed", ["{", "[]", '"x"', "[" * 100_000])
def test_what_is_no_message_is_refused_in_words(typed: str) -> None:
    with pytest.raises(ValueError, match="That is not"):
        read_message(typed)


@pytest.mark.parametrize("calls", [1, 1.5, True, "add", {"name": "add"}])
def test_calls_that_are_no_list_are_shown_as_json(calls: object) -> None:
    message = pb.ChatMessage(role="assistant", content="hm", extra_json=json.dumps({"tool_calls": calls}))
    shown = seen(prompt_messages=[message], corrected_message=message)
    assert shown.count("hm") == 2
    assert shown.count(json.dumps(calls)) == 2
