"""What records of many programs mean: prompt, response, tools and correction."""

from __future__ import annotations

import copy
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.forms import (
    Unexportable,
    beside_prompt,
    corrected_message_of,
    correction_of,
    prompt_digest,
    prompt_of,
    response_of,
    tools_of,
    unexportable_reason,
    written_response,
)
from avocet_grpc.core.record import MAX_NESTING

USER = {"role": "user", "content": "2+2?"}
CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}


def prompt(value: object) -> object:
    return prompt_of({"prompt_messages": value})


READABLE = {
    "messages as they are": ([USER | {"name": "kim"}], [USER | {"name": "kim"}]),
    "parts of content": ([{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],) * 2,
    "an empty content": ([{"role": "user", "content": ""}],) * 2,
    "a call without content": ([{"role": "assistant", "content": None, "tool_calls": [CALL]}],) * 2,
    "an old function call": ([{"role": "assistant", "function_call": {"name": "add"}}],) * 2,
    "ShareGPT": (
        [{"from": "system", "value": "Be short."}, {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "5"}],
        [{"role": "system", "content": "Be short."}, USER, {"role": "assistant", "content": "5"}],
    ),
    "a word of its own": ([{"from": "bing", "value": "x"}], [{"role": "bing", "content": "x"}]),
    "further keys of a ShareGPT message": (
        [{"from": "human", "value": "2+2?", "weight": 0}],
        [USER | {"weight": 0}],
    ),
    "a ShareGPT tool's answer": (
        [{"from": "observation", "value": "4"}, {"from": "function_response", "value": "5"}],
        [{"role": "tool", "content": "4"}, {"role": "tool", "content": "5"}],
    ),
    "a ShareGPT call": (
        [{"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2, "b": 2}}'}],
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
    ),
    "ShareGPT calls": (
        [{"from": "function_call", "value": '[{"name": "now"}, {"name": "add", "arguments": "{}"}]'}],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"type": "function", "function": {"name": "now", "arguments": "{}"}},
                    {"type": "function", "function": {"name": "add", "arguments": "{}"}},
                ],
            }
        ],
    ),
    "a ShareGPT call that is text": (
        [{"from": "function_call", "value": "add(2, 2)"}],
        [{"role": "assistant", "content": "add(2, 2)"}],
    ),
    "a ShareGPT call without a name": (
        [{"from": "function_call", "value": '{"arguments": {}}'}],
        [{"role": "assistant", "content": '{"arguments": {}}'}],
    ),
    "a string": ("2+2?", [USER]),
    "null": (None, []),
    "an empty list": ([], []),
    "an object with messages": ({"messages": [USER], "id": 7}, [USER]),
    "an object with conversations": ({"conversations": [{"from": "human", "value": "2+2?"}]}, [USER]),
    "an object whose first list is empty": ({"messages": [], "conversations": [USER]}, [USER]),
    "an object with an empty list": ({"messages": [], "conversations": "none"}, []),
}
UNREADABLE = {
    "a number": 4,
    "an object without a list": {"text": "2+2?"},
    "a list of strings": ["2+2?"],
    "a message without a role": [{"content": "2+2?"}],
    "an empty role": [{"role": "", "content": "2+2?"}],
    "a role that is no string": [{"role": 1, "content": "2+2?"}],
    "null as content": [USER, {"role": "assistant", "content": None}],
    "no content": [{"role": "user"}],
    "no calls": [{"role": "assistant", "content": None, "tool_calls": []}],
    "a ShareGPT message without a value": [{"from": "human"}],
    "a ShareGPT message that also has content": [{"from": "human", "value": "a", "content": "b"}],
    "an object whose messages cannot be read": {"messages": ["2+2?"]},
    "an object whose messages have no name": {"": [{"role": "user", "content": "2+2?"}]},
}


@pytest.mark.parametrize("what", READABLE)
def test_a_prompt_of_a_known_form_is_served_as_messages(what: str) -> None:
    value, messages = READABLE[what]
    before = copy.deepcopy(value)
    assert prompt(value) == messages
    assert value == before, "the record itself must stay as it is"
    assert unexportable_reason({"prompt_messages": value, "corrected_response": "4"}) is None


def test_a_record_without_prompt_messages_has_no_prompt() -> None:
    assert prompt_of({}) == []


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_prompt_of_another_form_is_not_guessed_at(what: str) -> None:
    assert prompt(UNREADABLE[what]) is None
    reason = unexportable_reason({"prompt_messages": UNREADABLE[what], "corrected_response": " "})
    assert reason is Unexportable.PROMPT


def test_what_stands_beside_the_messages_of_an_object_is_told_apart() -> None:
    assert beside_prompt({"prompt_messages": {"conversations": [USER], "messages": "none", "id": 7}}) == {
        "messages": "none",
        "id": 7,
    }
    assert beside_prompt({"prompt_messages": {"conversations": [USER], "messages": []}}) == {"messages": []}
    assert beside_prompt({"prompt_messages": [USER]}) == {}


def test_the_digest_is_of_the_served_prompt_whatever_its_form() -> None:
    canonical = '[{"content":"2+2?","role":"user"}]'
    expected = hashlib.sha256(canonical.encode()).digest()
    forms: list[object] = [
        "2+2?",
        [USER],
        [{"content": "2+2?", "role": "user"}],
        {"conversations": [{"from": "human", "value": "2+2?"}]},
    ]
    assert [prompt_digest({"prompt_messages": form}) for form in forms] == [expected] * 4
    assert prompt_digest({"prompt_messages": "2+3?"}) != expected


def test_without_a_readable_prompt_there_is_no_digest() -> None:
    forms: list[object] = [None, [], 4]
    assert [prompt_digest({"prompt_messages": form}) for form in forms] == [None, None, None]


def test_the_digest_of_a_prompt_with_a_lone_surrogate_is_that_of_what_is_served() -> None:
    assert prompt_digest({"prompt_messages": "a\ud800"}) == prompt_digest({"prompt_messages": "a\ufffd"})
    assert prompt_digest({"prompt_messages": "a\\ud800"}) != prompt_digest({"prompt_messages": "a\ufffd"})


RESPONSES = {
    "text": ("4", "4"),
    "null": (None, ""),
    "parts": (
        [{"type": "text", "text": "4"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "!"}],
        "4!",
    ),
    "a message": ({"role": "assistant", "content": [{"text": "4"}]}, "4"),
    "calls": ({"tool_calls": [CALL]}, ""),
    "a number": (4, ""),
    "a part whose text is a list": ([{"type": "text", "text": []}, {"type": [], "text": "x"}], ""),
}


@pytest.mark.parametrize("what", RESPONSES)
def test_the_text_of_a_response_is_found(what: str) -> None:
    value, text = RESPONSES[what]
    assert response_of({"model_response": value}) == text


@pytest.mark.parametrize("value", [[{"type": "function"}], '[{"type": "function"}]'])
def test_tools_are_a_list_of_objects_or_a_string_of_one(value: object) -> None:
    assert tools_of({"tools": value}) == [{"type": "function"}]


@pytest.mark.parametrize("value", [None, [], "[]", "x", '{"a": 1}', ["x"], [{}, 1], {"a": 1}, 5, "[" * 5000])
def test_anything_else_is_no_tools(value: object) -> None:
    assert tools_of({"tools": value}) is None


@pytest.mark.parametrize("depth", [MAX_NESTING, MAX_NESTING + 1, 950, 5000])
def test_json_in_a_string_is_read_as_deep_as_a_line_may_nest_and_no_deeper(depth: int) -> None:
    text = '[{"name": "f", "x": ' + "[" * (depth - 2) + "]" * (depth - 2) + "}]"
    called = prompt_of({"prompt_messages": [{"from": "function_call", "value": text}]})
    assert (tools_of({"tools": text}) is not None) == (depth <= MAX_NESTING)
    assert called is not None
    assert ("tool_calls" in called[0]) == (depth <= MAX_NESTING)
    assert called[0]["content"] == (None if depth <= MAX_NESTING else text)


@pytest.mark.parametrize(
    ("value", "text"), [("4", "4"), (" 4\n", " 4\n"), (4, "4"), (4.5, "4.5"), (True, "true"), (0, "0")]
)
def test_a_correction_is_text_and_a_number_is_its_json(value: object, text: str) -> None:
    assert correction_of({"corrected_response": value}) == text


@pytest.mark.parametrize("value", [None, "", " \n\u2003", float("nan"), float("inf")])
def test_a_blank_correction_is_missing(value: object) -> None:
    assert correction_of({"corrected_response": value}) is None
    assert unexportable_reason({"corrected_response": value}) is Unexportable.CORRECTION_MISSING
    assert unexportable_reason({}) is Unexportable.CORRECTION_MISSING


@pytest.mark.parametrize("value", [[], ["4"], {}, {"text": "4"}])
def test_a_list_or_an_object_is_no_text(value: object) -> None:
    assert correction_of({"corrected_response": value}) is None
    assert unexportable_reason({"corrected_response": value}) is Unexportable.CORRECTION_NOT_TEXT


MESSAGES: dict[str, dict] = {
    "text alone": {"role": "assistant", "content": "4", "name": "x"},
    "calls alone": {"role": "assistant", "tool_calls": [CALL]},
    "blank text and calls": {"role": "assistant", "content": " ", "tool_calls": [CALL]},
    "both": {"content": "adding", "tool_calls": [CALL]},
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_corrected_message_counts_while_the_text_is_what_it_would_write(what: str) -> None:
    message = MESSAGES[what]
    text = written_response(message)
    content = str(message.get("content", "")).strip()
    assert text == (content or json.dumps([CALL]))
    record = {"corrected_message": message, "corrected_response": text}
    assert corrected_message_of(record) == message
    assert corrected_message_of(record | {"corrected_response": f"{text}."}) is None
    assert corrected_message_of({"corrected_message": message}) is None


@pytest.mark.parametrize(
    "message",
    [None, "4", [], {"role": "user", "content": "4"}, {"content": ["4"]}, {"tool_calls": []}, {"tool_calls": ["4"]}],
)
def test_what_is_no_corrected_message_does_not_count(message: object) -> None:
    for text in ("4", None, "[]", '["4"]'):
        assert corrected_message_of({"corrected_message": message, "corrected_response": text}) is None


MEANT = st.sampled_from(["role", "content", "from", "value", "messages", "conversations", "tool_calls", "text", "type"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | MEANT, inner, max_size=3),
    max_leaves=8,
)
KEYS = ("prompt_messages", "model_response", "tools", "corrected_response", "corrected_message")


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_json_value_makes_reading_fail(record: dict) -> None:
    before = json.dumps(record)
    messages = prompt_of(record)
    assert messages is None or all(message["role"] for message in messages)
    assert (prompt_digest(record) is None) == (not messages)
    response_of(record).encode("utf-8", "surrogatepass")
    tools_of(record), correction_of(record), corrected_message_of(record), unexportable_reason(record)
    assert json.dumps(record) == before
