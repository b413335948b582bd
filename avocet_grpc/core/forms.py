"""What a record means, whatever its form: prompt, response, tools and correction of records of many programs.

The files keep their bytes; these functions only read. docs/records.md has the rules.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

from avocet_grpc.core.json_text import canonical_messages, python_json
from avocet_grpc.core.model import Record
from avocet_grpc.core.record import MAX_NESTING, is_deeper

SHAREGPT_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "function_call": "assistant",
}
CONVERSATION_KEYS = ("messages", "conversations")
TEXT_PARTS = (None, "text", "input_text", "output_text")


class Unexportable(enum.StrEnum):
    """Why an approved record is not a training example."""

    PROMPT = "prompt"
    CORRECTION_MISSING = "correction_missing"
    CORRECTION_NOT_TEXT = "correction_not_text"


def prompt_of(record: Record) -> list[Record] | None:
    """Return the prompt as chat messages, empty if the record has none; None if it has none of the forms we read.

    Each message has a string `role`, and `content`, `tool_calls` or `function_call`. Its other keys are as they are.
    """
    value = record.get("prompt_messages")
    if value is None:
        return []
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if isinstance(value, dict):
        read = _key_of_messages(value)
        value = None if read is None else value[read]
    if not isinstance(value, list):
        return None
    messages = [_message(each) for each in value]
    return None if None in messages else [message for message in messages if message is not None]


def beside_prompt(record: Record) -> Record:
    """Return the keys of an object in `prompt_messages` beside the list of messages that `prompt_of` reads."""
    value = record.get("prompt_messages")
    if not isinstance(value, dict):
        return {}
    read = _key_of_messages(value)
    return {key: each for key, each in value.items() if key != read}


def _key_of_messages(value: Record) -> str | None:
    """Return the key of the list of messages in an object: of the first that is not empty, if one is."""
    lists = [key for key in CONVERSATION_KEYS if isinstance(value.get(key), list)]
    return next((key for key in lists if value[key]), lists[0] if lists else None)


def prompt_digest(record: Record) -> bytes | None:
    """Return the SHA-256 of the served prompt, 32 bytes; None without a prompt, or with one that cannot be read."""
    return messages_digest(prompt_of(record) or [])


def messages_digest(messages: list[Record]) -> bytes | None:
    """Return the `prompt_digest` of the messages that `prompt_of` has returned."""
    return hashlib.sha256(canonical_messages(messages)).digest() if messages else None


def response_of(record: Record) -> str:
    """Return the model's response as text: parts of text are joined; empty if it has no text."""
    value = record.get("model_response")
    if isinstance(value, dict):
        value = value.get("content")
    return _text_of(value)


def tools_of(record: Record) -> list[Record] | None:
    """Return the tools that the model was given, or None: a list of objects, or a string that holds one."""
    value = record.get("tools")
    if isinstance(value, str):
        value = _loaded(value)
    if isinstance(value, list) and value and all(isinstance(tool, dict) for tool in value):
        return value
    return None


def correction_of(record: Record) -> str | None:
    """Return the correction as text that is not blank, or None.

    A number or a boolean is its JSON text: spreadsheet programs write `4` over `"4"`.
    """
    value = record.get("corrected_response")
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return value if isinstance(value, str) and value.strip() else None


def corrected_message_of(record: Record) -> Record | None:
    """Return the correction as a whole message, or None if there is none, or it no longer counts.

    It counts only while `corrected_response` says what `written_response` makes of it: otherwise another program has
    changed the text, and the text counts.
    """
    message = record.get("corrected_message")
    if not isinstance(message, dict) or message.get("role") not in (None, "", "assistant"):
        return None
    text = written_response(message)
    return message if text is not None and record.get("corrected_response") == text else None


def written_response(message: Record) -> str | None:
    """Return the `corrected_response` of a record that is corrected with this message: its text, else its tool calls
    as JSON. None if it has neither."""
    content, calls = message.get("content"), message.get("tool_calls")
    if content is not None and not isinstance(content, str):
        return None
    if content and content.strip():
        return content
    return json.dumps(calls) if is_object_list(calls) else None


def unexportable_reason(record: Record) -> Unexportable | None:
    """Return why the record would not be exported if it were approved, or None if it would: the first that holds."""
    if prompt_of(record) is None:
        return Unexportable.PROMPT
    if correction_of(record) is not None:
        return None
    if isinstance(record.get("corrected_response"), list | dict):
        return Unexportable.CORRECTION_NOT_TEXT
    return Unexportable.CORRECTION_MISSING


def is_object_list(value: object) -> bool:
    """Return True for a list of JSON objects that is not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _message(value: Any) -> Record | None:
    """Return a chat message of either form, or None if it has no role or no content."""
    if not isinstance(value, dict):
        return None
    if _is_word(value.get("role")):
        has_content = value.get("content") is not None or value.get("tool_calls") or value.get("function_call")
        return value if has_content else None
    return _sharegpt_message(value) if _is_word(value.get("from")) else None


def _sharegpt_message(message: Record) -> Record | None:
    speaker, value = message["from"], message.get("value")
    rest = {key: each for key, each in message.items() if key not in ("from", "value")}
    read = {"role": SHAREGPT_ROLES.get(speaker, speaker), "content": value}
    if speaker == "function_call" and (calls := _tool_calls(value)):
        read |= {"content": None, "tool_calls": calls}
    # A key that stands for something else already would be lost.
    if value is None or any(rest.pop(key, None) is not None for key in read):
        return None
    return read | rest


def _tool_calls(value: Any) -> list[Record]:
    """Return the calls that a ShareGPT `function_call` states in JSON, as OpenAI writes them; empty if it is text."""
    stated = _loaded(value) if isinstance(value, str) else value
    calls = stated if isinstance(stated, list) else [stated]
    if not all(isinstance(call, dict) and _is_word(call.get("name")) for call in calls):
        return []
    return [{"type": "function", "function": _function(call)} for call in calls]


def _function(call: Record) -> Record:
    arguments = call.get("arguments", {})
    return call | {"arguments": arguments if isinstance(arguments, str) else python_json(arguments)}


def searched_texts(record: Record) -> Iterable[str]:
    """Return the texts that a search looks in: of the prompt's messages, the response and the correction.

    A content that is a list of parts gives each text part for itself.
    """
    for message in prompt_of(record) or []:
        yield from _texts_in(message.get("content"))
    response = record.get("model_response")
    yield from _texts_in(response.get("content") if isinstance(response, dict) else response)
    yield correction_of(record) or ""
    yield from _texts_in((corrected_message_of(record) or {}).get("content"))


def _text_of(value: Any) -> str:
    return "".join(_texts_in(value))


def _texts_in(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    for part in value if isinstance(value, list) else []:
        text = part
        if isinstance(part, dict):
            text = part.get("text") if part.get("type") in TEXT_PARTS else None
        if isinstance(text, str):
            yield text


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _loaded(text: str) -> Any:
    """Return the JSON value that a string holds, None if it holds none.

    One that nests deeper than a line may is text: whether Python can write again what it reads there depends on what
    calls it.
    """
    if is_deeper(text.encode("utf-8", "surrogatepass"), MAX_NESTING):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
