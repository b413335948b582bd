"""What OpenAI's format refuses in a row, and what the renderer does so that it need not."""

from __future__ import annotations

import copy
import subprocess
from typing import Any

import pytest

from avocet_client.openai_format import faults, with_call_ids
from tests.support import BIN, Server, record, write_records

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
ROW: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Use the tools."},
        {"role": "user", "name": "kim", "content": [{"type": "text", "text": "2+2?"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
        {"role": "assistant", "content": "four", "weight": 1},
    ],
    "tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}],
}


def changed(*path: Any, **to: Any) -> dict[str, Any]:
    """The row with keys of one of its objects changed; None takes a key away."""
    row = copy.deepcopy(ROW)
    target: Any = row
    for step in path:
        target = target[step]
    for key, value in to.items():
        target[key] = value
        if value == "absent":
            del target[key]
    return row


def test_a_row_of_all_that_the_format_knows_is_taken() -> None:
    assert faults(ROW) == []


REFUSED = {
    "no messages": (changed(messages=[]), "messages"),
    "another key": (changed(prompt="x"), "prompt"),
    "a role of another format": (changed("messages", 0, role="human"), "messages[0].role"),
    "a key of another format": (changed("messages", 1, value="x"), "messages[1].value"),
    "no content": (changed("messages", 1, content=None), "messages[1].content"),
    "a blank question": (changed("messages", 1, content=" "), "messages[1].content"),
    "an image of the assistant": (changed("messages", 4, content=[{"type": "image_url"}]), "messages[4].content[0]"),
    "content that is an object": (changed("messages", 4, content={}), "messages[4].content"),
    "a weight of 2": (changed("messages", 4, weight=2), "messages[4].weight"),
    "a weight of a user": (changed("messages", 1, weight=1), "messages[1].weight"),
    "a name with a blank": (changed("messages", 1, name="kim lee"), "messages[1].name"),
    "a call without an id": (changed("messages", 2, "tool_calls", 0, id="absent"), "messages[2].tool_calls[0].id"),
    "a call of another type": (changed("messages", 2, "tool_calls", 0, type="x"), "messages[2].tool_calls[0].type"),
    "arguments that are an object": (
        changed("messages", 2, "tool_calls", 0, function={"name": "add", "arguments": {}}),
        "messages[2].tool_calls[0].function.arguments",
    ),
    "a call of a user": (changed("messages", 1, tool_calls=[CALL]), "messages[1].tool_calls"),
    "no calls": (changed("messages", 2, tool_calls=[]), "messages[2].tool_calls"),
    "an answer to nothing": (changed("messages", 3, tool_call_id="call_2"), "messages[3].tool_call_id"),
    "a call without an answer": (changed("messages", 3, role="user"), "messages[3]"),
    "a last message of a user": (changed("messages", 4, role="user", weight="absent"), "messages[4].role"),
    "a tool without a function": (changed("tools", 0, function="absent"), "tools[0]"),
    "tools that are no list": (changed(tools=None), "tools"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_format_refuses_is_named(what: str) -> None:
    row, path = REFUSED[what]
    assert path in [fault.split(": ")[0] for fault in faults(row)]


def test_calls_get_ids_and_answers_refer_to_them() -> None:
    bare = {"type": "function", "function": CALL["function"]}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "tool_calls": [bare, CALL | {"id": "call_0"}, bare]},
        {"role": "tool", "content": "4"},
        {"role": "tool", "content": "5", "tool_call_id": "call_0"},
        {"role": "tool", "content": "6"},
        {"role": "assistant", "content": "four"},
    ]
    made = with_call_ids(messages)
    assert [call["id"] for call in made[1]["tool_calls"]] == ["call_1", "call_0", "call_2"]
    assert [message.get("tool_call_id") for message in made] == [None, None, "call_1", "call_0", "call_2", None]
    assert faults({"messages": made}) == []
    assert "id" not in messages[1]["tool_calls"][0]


def test_messages_without_calls_stay_as_they_are() -> None:
    messages = [{"role": "user", "content": "2+2?"}, {"role": "tool", "content": "of nothing"}]
    assert with_call_ids(messages) == messages


@pytest.mark.parametrize("odd", [["call_1"], {"id": "call_1"}, 1, 1.5, True])
def test_an_id_of_another_type_is_refused_and_stops_nothing(odd: Any) -> None:
    row = changed("messages", 2, "tool_calls", 0, id=odd)
    row["messages"][3]["tool_call_id"] = odd
    assert with_call_ids(row["messages"]) == row["messages"]
    paths = [fault.partition(":")[0] for fault in faults(row)]
    assert "messages[2].tool_calls[0].id" in paths
    assert "messages[3].tool_call_id" in paths


def test_an_export_names_each_row_that_is_refused(stopped_server: Server) -> None:
    blank = [{"role": "user", "content": " "}]
    bad = [record(f"c{n}", status="approved", corrected_response="4", prompt_messages=blank) for n in range(150)]
    write_records(stopped_server.approved, bad)
    server = stopped_server.start()
    command = [str(BIN / "avocet"), "export", "--format", "openai", "--address", server.address]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    named = [line for line in done.stderr.splitlines() if line.startswith("avocet: row ")]
    assert [int(line.split()[2].rstrip(":")) for line in named] == list(range(1, 151))
