"""What odd records mean: one suite on the real server and on the in-memory service, with both clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.client.conftest import Start
from tests.support import record

CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def approved(id: str, **keys: Any) -> Any:
    return record(id, status="approved", **keys)


def test_what_the_wire_cannot_carry_is_served_as_what_it_can(start: Start) -> None:
    client = start(
        record("a", model_response="x\ud800", source="\udfff", prompt_messages=[{"role": "user", "content": "\ud800"}]),
        record("b", gpu_id=2**40),
        record("c", gpu_id=-(2**31), odd={"\ud800": float("nan")}),
        record("d", prompt_messages=[{"role": 5, "content": "q"}]),
        record("e", prompt_messages=[{"role": "user"}]),
    )
    a, b, c, d, e = (client.get_candidate(id) for id in "abcde")
    assert (a.model_response, a.source, a.prompt_messages[0].content) == ("x\ufffd", "\ufffd", "\ufffd")
    assert (b.HasField("gpu_id"), json.loads(b.extra_json)) == (False, {"gpu_id": 2**40})
    assert (c.gpu_id, c.extra_json) == (-(2**31), '{"odd": {"\\ufffd": NaN}}')
    assert json.loads(d.prompt_json) == [{"role": 5, "content": "q"}]
    assert (json.loads(e.prompt_json), e.prompt_digest) == ([{"role": "user"}], "")
    assert client.stats().by_source == {"\ufffd": 1, "benchmark": 4}
    assert a.prompt_digest == client.queue().items[0].prompt_digest != ""


def test_a_correction_that_is_a_number_or_a_boolean_is_its_json_text(start: Start) -> None:
    corrections: list[Any] = [7, True, 1.5, float("nan"), ["x"], {}, None, " "]
    client = start(*(approved(f"r{n}", corrected_response=value) for n, value in enumerate(corrections)))
    assert [(one.id, one.messages[-1].content) for one in client.export()] == [
        ("r0", "7"),
        ("r1", "true"),
        ("r2", "1.5"),
    ]
    seven = client.get_candidate("r0")
    assert (seven.corrected_response, json.loads(seven.extra_json)) == ("7", {"corrected_response": 7})
    assert not client.get_candidate("r4").HasField("corrected_response")
    stats = client.stats()
    assert (stats.export_ready, stats.unexportable) == (3, {"correction_missing": 3, "correction_not_text": 2})


def test_approved_records_that_are_not_exported_are_counted_by_the_first_reason(start: Start) -> None:
    bad = [{"role": "user"}]
    client = start(approved("a", prompt_messages=bad), approved("b", prompt_messages=bad, corrected_response="x"))
    client.ingest(source="kiwi", task_type="sum", prompt="1+1?", correction="2")
    assert (client.stats().unexportable, client.stats().export_ready) == ({"prompt": 2}, 1)
    client.undo("a")
    assert client.stats().unexportable == {"prompt": 1}


@pytest.mark.parametrize(
    ("message", "text", "counts"),
    [
        ({"role": "assistant", "content": "z"}, "z", True),
        ({"role": "assistant", "content": "z"}, "another", False),
        ({"content": None, "tool_calls": CALLS}, json.dumps(CALLS), True),
        ({"role": "user", "content": "z"}, "z", False),
        ("a string", "z", False),
    ],
)
def test_a_corrected_message_counts_while_the_text_says_the_same(
    start: Start, message: Any, text: str, counts: bool
) -> None:
    client = start(approved("a", corrected_message=message, corrected_response=text))
    (example,) = client.export()
    served = client.get_candidate("a")
    assert served.HasField("corrected_message") == counts
    assert served.corrected_response == text
    if counts:
        assert example.messages[-1].content == (message.get("content") or "")
        assert bool(example.messages[-1].extra_json) == ("tool_calls" in message)
    else:
        assert (example.messages[-1].content, example.messages[-1].extra_json) == (text, "")
        assert json.loads(served.extra_json) == {"corrected_message": message}


def test_parts_of_a_response_are_joined_and_its_json_is_kept(start: Start) -> None:
    parts: list[Any] = [{"type": "text", "text": "a"}, "b", {"type": "image"}]
    client = start(
        approved("a", corrected_response="x", model_response=parts),
        approved("b", corrected_response="x", model_response={"role": "assistant", "content": "c", "n": float("inf")}),
        approved("c", corrected_response="x", model_response=7),
    )
    served = [client.get_candidate(id) for id in "abc"]
    assert [one.model_response for one in served] == ["ab", "c", ""]
    assert json.loads(served[0].model_response_json) == parts
    examples = list(client.export())
    assert [one.rejected for one in examples] == ["ab", "c", ""]
    assert examples[1].rejected_json == '{"role": "assistant", "content": "c", "n": null}'
    assert examples[2].rejected_json == "7"


def test_tools_are_a_list_of_objects_or_a_string_that_holds_one(start: Start) -> None:
    tools: list[Any] = ['[{"a":1}]', [{"a": 1}], [1], [], "[1]", "text", '{"a":1}']
    client = start(*(approved(f"r{n}", corrected_response="x", tools=value) for n, value in enumerate(tools)))
    assert [one.tools_json for one in client.export()] == ['[{"a": 1}]'] * 2 + [""] * 5
    served = [client.get_candidate(f"r{n}") for n in range(len(tools))]
    assert [one.tools_json for one in served] == ['[{"a": 1}]'] * 2 + [""] * 5
    assert [json.loads(one.extra_json)["tools"] for one in served[2:]] == tools[2:]


def test_a_search_looks_in_each_text_for_itself(start: Start) -> None:
    client = start(
        record("a", prompt_messages="blue sky", model_response=[{"type": "text", "text": "red"}, "sea"]),
        record("b", prompt_messages="x", model_response="y", corrected_response=1234),
    )

    def found(text: str) -> list[str]:
        return [one.id for one in client.candidates(text=text)]

    assert (found("sky"), found("red"), found("sea"), found("123")) == (["a"], ["a"], ["a"], ["b"])
    assert (found("sky\0red"), found("redsea"), found("x\0y")) == ([], [], [])


def test_an_empty_word_is_a_word_of_its_own(start: Start) -> None:
    client = start(record("a", status=""), record("b", status=None, task_type="", model_name=5))
    stats = client.stats()
    assert stats.by_status == {"": 1, "unknown": 1}
    assert (stats.by_task_type[""], stats.by_model["unknown"]) == (1, 1)
