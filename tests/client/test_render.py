"""The rows that trainers read: the documented shapes, and nothing of the record lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avocet_client import to_dict, to_kto, to_openai, to_preference, to_sft
from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, record, write_records

TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Kyiv"}'}}
PROMPT: list[dict[str, Any]] = [
    {"role": "system", "content": "Use the tools."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {"url": "x"}}],
    },
    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "weather", "content": "12 degrees \u2028 and rain"},
    {"role": "user", "name": "kim", "content": "", "weight": 10**30},
    {"role": "assistant", "tool_calls": [TOOL_CALL]},
]
CHOSEN = {"role": "assistant", "content": "Take an umbrella."}
REJECTED = {"role": "assistant", "content": "It is sunny."}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An example as the service serves it."""
    server = Server(tmp_path_factory.mktemp("render"))
    texts = {"corrected_response": CHOSEN["content"], "model_response": REJECTED["content"]}
    write_records(
        server.approved,
        [record("a", status="approved", prompt_messages=PROMPT, failure_category="wrong_answer", **texts)],
    )
    try:
        (response, *_) = server.start().stub.StreamExport(pb.StreamExportRequest())
        return response.examples[0]
    finally:
        server.kill()


def test_sft_rows_are_trls_prompt_completion(example: pb.TrainingExample) -> None:
    assert to_sft(example) == {"prompt": PROMPT, "completion": [CHOSEN]}


def test_preference_rows_are_trls_with_an_explicit_prompt(example: pb.TrainingExample) -> None:
    assert to_preference(example) == {"prompt": PROMPT, "chosen": [CHOSEN], "rejected": [REJECTED]}


def test_kto_rows_are_trls_unpaired_preference(example: pb.TrainingExample) -> None:
    assert to_kto(example) == [
        {"prompt": PROMPT, "completion": [CHOSEN], "label": True},
        {"prompt": PROMPT, "completion": [REJECTED], "label": False},
    ]


def test_openai_rows_are_chat_messages_of_which_the_correction_alone_is_learned(example: pb.TrainingExample) -> None:
    earlier = [turn | {"weight": 0} if turn["role"] == "assistant" else turn for turn in PROMPT]
    assert to_openai(example) == {"messages": [*earlier, CHOSEN | {"weight": 1}]}
    assert json.loads(json.dumps(to_openai(example))) == to_openai(example)


def test_a_dict_has_all_of_the_example(example: pb.TrainingExample) -> None:
    row = to_dict(example)
    assert (row["id"], row["messages"], row["rejected"]) == ("a", [*PROMPT, CHOSEN], REJECTED["content"])
    assert row["metadata"] == {
        "source": "benchmark",
        "task_type": "summary",
        "model_name": "Heron 7B",
        "benchmark_run_id": "2025-03-01-120000",
        "failure_category": "wrong_answer",
        "label": None,
        "quality_score": 0.97,
        "approved_revision": example.metadata.approved_revision,
    }


def changed(example: pb.TrainingExample, **fields: Any) -> pb.TrainingExample:
    made = pb.TrainingExample()
    made.CopyFrom(example)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_each_renderer_that_has_a_column_of_tools_fills_it(example: pb.TrainingExample) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    given = changed(example, tools_json=json.dumps(tools))
    assert [row["tools"] for row in (to_sft(given), to_preference(given) or {}, *to_kto(given), to_openai(given))] == [
        tools
    ] * 5
    assert to_dict(given)["tools"] == tools
    assert to_dict(example)["tools"] is None


CALLING = {"content": None, "tool_calls": [TOOL_CALL]}
REJECTED_JSON: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "parts of text": ("It is.", [{"type": "text", "text": part} for part in ("It ", "is.")], {"content": "It is."}),
    "other parts": (
        "It is.",
        [{"type": "text", "text": "It is."}, {"type": "image_url", "image_url": {}}],
        {"content": [{"type": "text", "text": "It is."}, {"type": "image_url", "image_url": {}}]},
    ),
    "a message": ("", {"role": "model"} | CALLING, CALLING),
    "calls": ("", [TOOL_CALL], CALLING),
    "a number": ("", 5, {"content": "5"}),
    "an object": ("", {"answer": 5}, {"content": '{"answer": 5}'}),
    "a list of numbers": ("", [5], {"content": "[5]"}),
}


@pytest.mark.parametrize("what", REJECTED_JSON)
def test_a_response_that_is_not_a_string_makes_a_pair(example: pb.TrainingExample, what: str) -> None:
    text, value, message = REJECTED_JSON[what]
    row = to_preference(changed(example, rejected=text, rejected_json=json.dumps(value)))
    assert row is not None
    assert row["rejected"] == [{"role": "assistant"} | message]


def test_a_tool_call_against_the_same_call_is_no_pair(example: pb.TrainingExample) -> None:
    given = changed(example, rejected="", rejected_json=json.dumps([TOOL_CALL]))
    given.messages[-1].CopyFrom(pb.ChatMessage(role="assistant", extra_json=json.dumps({"tool_calls": [TOOL_CALL]})))
    assert to_preference(given) is None
    given.rejected_json = json.dumps([TOOL_CALL | {"id": "another"}])
    assert to_preference(given) is not None


def test_a_server_that_sends_nan_or_half_characters_does_not_spoil_a_row(example: pb.TrainingExample) -> None:
    given = changed(example, tools_json='[{"x": NaN, "\\ud800": [-Infinity, 1e999, "NaN"]}]')
    given.messages[0].extra_json = '{"name": "\\udfff", "y": Infinity}'
    given.metadata.quality_score = float("nan")
    row = to_dict(given)
    assert row["tools"] == [{"x": None, "\ufffd": [None, None, "NaN"]}]
    assert row["messages"][0] == PROMPT[0] | {"name": "\ufffd", "y": None}
    assert row["metadata"]["quality_score"] is None


SAME = ["", CHOSEN["content"], " Take an umbrella.\n"]


@pytest.mark.parametrize("rejected", SAME)
def test_without_a_response_of_its_own_there_is_no_pair(example: pb.TrainingExample, rejected: str) -> None:
    alone = changed(example, rejected=rejected)
    assert to_preference(alone) is None
    assert [row["label"] for row in to_kto(alone)] == [True]
    assert to_sft(alone) == to_sft(example)


@pytest.mark.parametrize(
    "nothing",
    [
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": [], "function_call": None},
        {"role": "assistant", "function_call": {}},
    ],
)
def test_a_message_that_says_nothing_is_no_response(example: pb.TrainingExample, nothing: dict[str, Any]) -> None:
    alone = changed(example, rejected="", rejected_json=json.dumps(nothing))
    assert to_preference(alone) is None
    assert [row["label"] for row in to_kto(alone)] == [True]


def test_a_function_call_of_the_old_form_is_a_response(example: pb.TrainingExample) -> None:
    said = {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}}
    row = to_preference(changed(example, rejected="", rejected_json=json.dumps(said)))
    assert row is not None and row["rejected"] == [said]


def test_two_spellings_of_the_same_characters_are_no_pair(example: pb.TrainingExample) -> None:
    given = changed(example, rejected="Cafe\u0301 ")
    given.messages[-1].content = "Caf\u00e9"
    assert to_preference(given) is None
    given.rejected = "Cafe"
    assert to_preference(given) is not None
