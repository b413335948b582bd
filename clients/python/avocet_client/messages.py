"""Messages of a conversation as dicts, in the form of the record: `role`, `content`, `tool_calls`, `name`, ..."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any

import avocet_client.strict_json as strict_json
from avocet_client.requests import sendable
from avocet_client.v1 import corrections_pb2 as pb

Message = dict[str, Any]
SAID = {"content", "tool_calls", "function_call"}
"""The keys of a message that say something."""
TEXT_PARTS = (None, "text", "input_text", "output_text")


def message_dict(message: pb.ChatMessage) -> Message:
    """Return a message as the record has it, in strict JSON values."""
    made: Message = {"role": message.role} if message.role else {}
    if message.HasField("content"):
        made["content"] = message.content
    elif message.content_json:
        made["content"] = strict_json.loads(message.content_json)
    return made | (strict_json.loads(message.extra_json) if message.extra_json else {})


def chat_message(message: Mapping[str, Any]) -> pb.ChatMessage:
    """Return the wire's message of a dict, for `corrected_message`.

    Raises ValueError for content that is not text, and InvalidField for half a character.
    """
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        raise ValueError(f"the content of a corrected message is a string or None; it is {type(content).__name__}")
    return sendable(pb.ChatMessage, "corrected_message")(
        role=message.get("role") or "", content=content, extra_json=json.dumps(rest, allow_nan=False) if rest else ""
    )


def response_dict(text: str, response_json: str) -> Message | None:
    """Return the model's own response as an assistant message; None if it is not known, or says nothing.

    `response_json` is the response if it is not a string: a message, a list of tool calls, parts of content, or any
    other value, which stands as its JSON text.
    """
    if not response_json:
        return {"role": "assistant", "content": text} if text else None
    value = strict_json.loads(response_json)
    if value is None or value == [] or value == {}:
        return None
    if isinstance(value, dict) and not SAID.isdisjoint(value):
        if not any(value.get(key) for key in SAID):
            return None
        return {"role": "assistant"} | {key: each for key, each in value.items() if key != "role"}
    if _are_calls(value):
        return {"role": "assistant", "content": None, "tool_calls": value}
    if isinstance(value, list) and all(_is_text(part) for part in value):
        return {"role": "assistant", "content": text}
    if isinstance(value, list) and all(isinstance(part, dict) and "type" in part for part in value):
        return {"role": "assistant", "content": value}
    return {"role": "assistant", "content": strict_json.dumps(value)}


def say_the_same(one: Message, other: Message) -> bool:
    """Return True if two messages are equal but for Unicode form, blanks around the text, and how parts are cut."""
    return bool(_said(one) == _said(other))


def text_of(content: Any) -> str:
    """Return the text in the content of a message: a string, or the parts of text joined."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part if isinstance(part, str) else part["text"] for part in parts if _is_text(part))


def _said(message: Message) -> Any:
    content = message.get("content")
    others = [part for part in content if not _is_text(part)] if isinstance(content, list) else []
    calls = [message.get(key) or None for key in ("tool_calls", "function_call")]
    return unicodedata.normalize("NFC", text_of(content)).strip(), others, calls


def _is_text(part: Any) -> bool:
    if isinstance(part, dict):
        return part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str)
    return isinstance(part, str)


def _are_calls(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(call, dict) and isinstance(call.get("function"), dict) for call in value)
