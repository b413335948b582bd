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


def test_openai_rows_are_chat_messages(example: pb.TrainingExample) -> None:
    assert to_openai(example) == {"messages": [*PROMPT, CHOSEN]}
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


@pytest.mark.parametrize("rejected", ["", CHOSEN["content"]])
def test_without_a_response_of_its_own_there_is_no_pair(example: pb.TrainingExample, rejected: str) -> None:
    alone = pb.TrainingExample()
    alone.CopyFrom(example)
    alone.rejected = rejected
    assert to_preference(alone) is None
    assert [row["label"] for row in to_kto(alone)] == [True]
    assert to_sft(alone) == to_sft(example)
