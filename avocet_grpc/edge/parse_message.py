"""The correction of a `Submit` as a message, read strictly: what is accepted here is written into the record."""

from __future__ import annotations

import json
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.forms import is_object_list
from avocet_grpc.core.model import Record
from avocet_grpc.core.record import is_deeper
from avocet_grpc.edge.checks import MAX_TEXT

MAX_NESTING = 100

_FIELD = "corrected_message"
_EXTRA = "corrected_message.extra_json"


def corrected_message(request: pb.SubmitRequest) -> Record | None:
    """Return the message as the record gets it, None if the request has none. Raises InvalidField."""
    if not request.HasField("corrected_message"):
        return None
    if request.corrected_response:
        raise InvalidField("corrected_response", "must be left out together with corrected_message")
    message = request.corrected_message
    if message.role not in ("", "assistant"):
        raise InvalidField(f"{_FIELD}.role", "must be assistant, or left out")
    if message.content_json:
        raise InvalidField(f"{_FIELD}.content_json", "must be left out; the text goes to content")
    for field in ("content", "extra_json"):
        if len(getattr(message, field)) > MAX_TEXT:
            raise InvalidField(f"{_FIELD}.{field}", f"must have at most {MAX_TEXT:,} characters")
    extra = _extra(message.extra_json) if message.extra_json else {}
    if not message.content.strip() and "tool_calls" not in extra:
        raise InvalidField(_FIELD, "must have content that is not blank, or tool_calls in extra_json")
    content = {"content": message.content} if message.HasField("content") else {}
    return {"role": "assistant"} | content | extra


def _extra(text: str) -> Record:
    extra = _strict_object(text)
    if extra is None:
        raise InvalidField(_EXTRA, f"must be one object in strict JSON, nested to {MAX_NESTING} at most")
    for key in ("role", "content"):
        if key in extra:
            raise InvalidField(_EXTRA, f"must not have the key {key}, which is a field of the message")
    if "tool_calls" in extra and not is_object_list(extra["tool_calls"]):
        raise InvalidField(_EXTRA, "must have tool_calls as a list of objects that is not empty")
    return extra


def _strict_object(text: str) -> Record | None:
    """Return the JSON object of the text, None if it holds anything else, or what strict JSON lacks."""
    if is_deeper(text.encode(), MAX_NESTING):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
        # Refuses numbers beyond the range of a double, and lone surrogates.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not strict JSON")
