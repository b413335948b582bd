"""A correction as a message with tool calls, typed as JSON."""

from __future__ import annotations

import json

from avocet_client.errors import InvalidField
from avocet_client.messages import Message, chat_message, response_dict, text_of
from avocet_client.v1 import corrections_pb2 as pb


def template(candidate: pb.Candidate) -> str:
    """Return the JSON that a reviewer starts from: the model's own calls, or a call of the first tool."""
    response = _own(candidate)
    if response is None:
        function = {"name": _first_tool(candidate), "arguments": "{}"}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        response = {"role": "assistant", "content": None, "tool_calls": calls}
    elif not isinstance(response.get("content"), str):
        # A corrected message has text, and no parts.
        response = response | {"content": text_of(response.get("content")) or None}
    return json.dumps(response, indent=2, ensure_ascii=False) + "\n"


def has_calls(candidate: pb.Candidate) -> bool:
    """Tell whether the model's own response calls tools."""
    return _own(candidate) is not None


def read_message(typed: str) -> Message:
    """Return the message that was typed. Raises ValueError, with words for the reviewer, if it is not one."""
    try:
        message = json.loads(typed)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"That is not JSON: {error}.") from None
    if not isinstance(message, dict):
        raise ValueError("That is not a JSON object with a role, content and tool_calls.")
    try:
        chat_message(message)
    except (TypeError, ValueError, InvalidField) as error:
        raise ValueError(f"That is not a message: {error}.") from None
    return message


def _own(candidate: pb.Candidate) -> Message | None:
    """Return the model's own response if it calls tools."""
    response = response_dict(candidate.model_response, candidate.model_response_json)
    return response if response is not None and response.get("tool_calls") else None


def _first_tool(candidate: pb.Candidate) -> str:
    tools = json.loads(candidate.tools_json) if candidate.tools_json else [{}]
    function = tools[0].get("function", tools[0])
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""
