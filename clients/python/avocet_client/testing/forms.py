"""What a record means: its prompt, the model's response, the tools, and which of its corrections counts.

The service has the same rules in `core/forms.py`, which this package must not import. Tests run on both compare them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from avocet_client.messages import TEXT_PARTS
from avocet_client.messages import text_of as text_in
from avocet_client.testing.lines import Record, loaded, python_json, without_surrogates


def text_of(record: Mapping[str, Any], key: str) -> str | None:
    """Return the value of a key if it is a string, as the wire can carry it."""
    value = record.get(key)
    return without_surrogates(value) if isinstance(value, str) else None


def prompt_of(record: Record) -> list[Record] | None:
    """Return the messages of the prompt: empty without a prompt, None for a prompt in a form that is not read here."""
    value = record.get("prompt_messages")
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if value is None:
        return []
    return value if isinstance(value, list) and all(_is_message(each) for each in value) else None


def prompt_digest(record: Record) -> str:
    """Return the SHA-256 of the prompt's messages, in hexadecimal; empty if there are none."""
    messages = prompt_of(record)
    if not messages:
        return ""
    text = python_json(messages, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def response_of(record: Record) -> str:
    """Return the model's response as text: parts of text are joined; empty if it has no text."""
    value = record.get("model_response")
    return without_surrogates(text_in(value.get("content") if isinstance(value, dict) else value))


def tools_of(record: Record) -> list[Record] | None:
    """Return the tools: a list of objects that is not empty, or a string that holds one; None if it is neither."""
    value = record.get("tools")
    value = loaded(value) if isinstance(value, str) else value
    return value if _are_objects(value) else None


def correction_of(record: Record) -> str | None:
    """Return the correction as text that is not blank. A number or a boolean is its JSON text."""
    value = record.get("corrected_response")
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return value if isinstance(value, str) and value.strip() else None


def corrected_message_of(record: Record) -> Record | None:
    """Return the correction as a whole message, None if there is none that counts.

    It counts only while `corrected_response` says what the service would write there: otherwise another program has
    changed the text, and the text counts.
    """
    message = record.get("corrected_message")
    if not isinstance(message, dict) or message.get("role") not in (None, "", "assistant"):
        return None
    text = written_response(message)
    return message if text is not None and record.get("corrected_response") == text else None


def written_response(message: Record) -> str | None:
    """Return the `corrected_response` of a correction that is a message: its text, else its tool calls as JSON."""
    content, calls = message.get("content"), message.get("tool_calls")
    if content is not None and not isinstance(content, str):
        return None
    if content and content.strip():
        return content
    return json.dumps(calls) if _are_objects(calls) else None


def unexportable(record: Record) -> str:
    """Return why the record would not be exported if it were approved, empty if it would."""
    if prompt_of(record) is None:
        return "prompt"
    if correction_of(record) is not None:
        return ""
    return "correction_not_text" if isinstance(record.get("corrected_response"), list | dict) else "correction_missing"


def is_exportable(record: Record) -> bool:
    """Return whether an export sends the record: it is approved, and nothing makes it unexportable."""
    return record.get("status") == "approved" and not unexportable(record)


def searched_texts(record: Record) -> Iterator[str]:
    """Yield each text that a search looks in, for itself: nothing matches across two of them."""
    for message in prompt_of(record) or []:
        yield from _texts_in(message.get("content"))
    response = record.get("model_response")
    yield from _texts_in(response.get("content") if isinstance(response, dict) else response)
    yield correction_of(record) or ""
    yield from _texts_in((corrected_message_of(record) or {}).get("content"))


def _texts_in(value: Any) -> Iterator[str]:
    for part in value if isinstance(value, list) else [value]:
        text = part.get("text") if isinstance(part, dict) and part.get("type") in TEXT_PARTS else part
        if isinstance(text, str):
            yield text


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str) or not value["role"]:
        return False
    return value.get("content") is not None or bool(value.get("tool_calls") or value.get("function_call"))


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)
