"""OpenAI's file format for supervised fine-tuning of chat models: what a row needs, and what is refused in it.

Source: https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
KEYS = frozenset(
    {"role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal", "audio"}
)
ROW_KEYS = frozenset({"messages", "tools", "functions", "parallel_tool_calls"})
USER_PARTS = ("text", "image_url", "input_audio", "file")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def with_call_ids(messages: list[Row]) -> list[Row]:
    """Return the messages with an id for each tool call that has none, and with the tools' answers referring to it.

    Answers without a `tool_call_id` belong to the calls before them, in order.
    """
    made: list[Row] = []
    taken = {id for message in messages for call in _calls(message) if isinstance(id := call.get("id"), str)}
    waiting: list[Any] = []
    for message in messages:
        if calls := _calls(message):
            calls = [call if call.get("id") else call | {"id": _new_id(taken)} for call in calls]
            waiting = [call["id"] for call in calls]
            message = message | {"tool_calls": calls}
        elif message.get("role") == "tool":
            if not message.get("tool_call_id") and waiting:
                message = message | {"tool_call_id": waiting[0]}
            waiting = [id for id in waiting if id != message.get("tool_call_id")]
        made.append(message)
    return made


def faults(row: Row) -> list[str]:
    """Return what OpenAI's format refuses in a row, each as a path and a sentence; empty if it takes the row."""
    return list(_faults(row))


def _faults(row: Row) -> Iterator[str]:
    for key in sorted(row.keys() - ROW_KEYS):
        yield f"{key}: the format has no such key"
    yield from _tool_faults(row.get("tools", []))
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "messages: must be a list that is not empty"
        return
    open_calls: set[str] = set()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        yield from (f"{path}{fault}" for fault in _message_faults(message))
        if message.get("role") == "tool":
            id = message.get("tool_call_id")
            if not isinstance(id, str) or id not in open_calls:
                yield f"{path}.tool_call_id: must be the id of a call in the assistant's message before it"
            open_calls.discard(str(id))
        else:
            if open_calls:
                yield f"{path}: a tool's answer must come first, to {', '.join(sorted(open_calls))}"
            open_calls = {str(call.get("id")) for call in _calls(message)}
    if messages[-1].get("role") != "assistant":
        yield f"messages[{len(messages) - 1}].role: the last message must be the assistant's"


def _message_faults(message: Row) -> Iterator[str]:
    role = message.get("role")
    if role not in ROLES:
        yield f".role: must be one of {', '.join(ROLES)}; it is {role!r}"
    for key in sorted(message.keys() - KEYS):
        yield f".{key}: the format has no such key"
    if "weight" in message and (role != "assistant" or message["weight"] not in (0, 1)):
        yield ".weight: must be 0 or 1, and only of an assistant's message"
    if "name" in message and not _is_name(message["name"]):
        yield ".name: must have 1 to 64 letters, digits, _ or -"
    if message.get("tool_calls") is not None:
        yield from _call_faults(message["tool_calls"], role)
    yield from _content_faults(message, role)


def _content_faults(message: Row, role: Any) -> Iterator[str]:
    content = message.get("content")
    if content is None:
        if role != "assistant" or not (message.get("tool_calls") or message.get("function_call")):
            yield ".content: is missing"
        return
    if isinstance(content, str):
        if role == "user" and not content.strip():
            yield ".content: must not be blank"
        return
    allowed = USER_PARTS if role == "user" else ("text", "refusal") if role == "assistant" else ("text",)
    if not isinstance(content, list) or not content:
        yield ".content: must be a string, or a list of parts"
        return
    for index, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") not in allowed:
            yield f".content[{index}]: must be a part of type {' or '.join(allowed)}"
        elif part["type"] == "text" and not isinstance(part.get("text"), str):
            yield f".content[{index}].text: must be a string"


def _call_faults(calls: Any, role: Any) -> Iterator[str]:
    if role != "assistant":
        yield ".tool_calls: only the assistant calls tools"
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        yield ".tool_calls: must be a list of objects that is not empty"
        return
    for index, call in enumerate(calls):
        function = call.get("function")
        if not isinstance(call.get("id"), str) or not call["id"]:
            yield f".tool_calls[{index}].id: is missing"
        if call.get("type") != "function":
            yield f".tool_calls[{index}].type: must be function"
        if not isinstance(function, dict) or not _is_name(function.get("name")):
            yield f".tool_calls[{index}].function.name: must have 1 to 64 letters, digits, _ or -"
        elif not isinstance(function.get("arguments"), str):
            yield f".tool_calls[{index}].function.arguments: must be JSON text in a string"


def _tool_faults(tools: Any) -> Iterator[str]:
    if not isinstance(tools, list):
        yield "tools: must be a list"
        return
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            yield f"tools[{index}]: must be an object of type function, with a function"
        elif not _is_name(function.get("name")):
            yield f"tools[{index}].function.name: must have 1 to 64 letters, digits, _ or -"


def _calls(message: Row) -> list[Row]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _new_id(taken: set[str]) -> str:
    id = next(name for number in range(len(taken) + 1) if (name := f"call_{number}") not in taken)
    taken.add(id)
    return id


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
