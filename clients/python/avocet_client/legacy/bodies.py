"""Requests: JSON bodies with fields of stated types, and page numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from starlette.requests import ClientDisconnect, Request

from avocet_client.legacy.answers import Answer
from avocet_client.web.guard import any_page_can_send, media_type
from avocet_client.words import Action, FailureCategory

MOST_TEXT_BYTES = 17_000_000
"""Larger texts are refused; the service takes 16 MB."""
MOST_BYTES = 6 * MOST_TEXT_BYTES
"""A larger body is refused. JSON may spend six bytes on a character, as `\\u0001`."""
MOST_BYTES_AT_ONCE = 2 * MOST_BYTES


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request: a string, or null if it is `optional`; one of `words` if there are any."""

    name: str
    optional: bool = False
    words: Sequence[str] = ()

    def problem(self, body: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return the kind of problem and its sentence, or None."""
        if self.name not in body:
            return None if self.optional else ("missing", "Field required")
        value = body[self.name]
        if value is None and self.optional:
            return None
        if not isinstance(value, str):
            return "string_type", "Input should be a valid string"
        if not _is_whole(value):
            return "string_unicode", "Input should be a valid string, without half a character (a lone surrogate)"
        if self.words and value not in self.words:
            return "literal_error", f"Input should be one of {', '.join(self.words)}"
        return None


class _Room:
    """Bounds the bytes of all bodies that are being read at once."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, count: int) -> None:
        """Raises Answer, with status 503, if there is no room."""
        if count > self._left:
            raise Answer(503, "Too many large requests at once. Send it again later.")
        self._left -= count

    def give_back(self, count: int) -> None:
        self._left += count


_ROOM = _Room(MOST_BYTES_AT_ONCE)


IMPORT = (Field("run_id"),)
SUBMIT = (
    Field("id"),
    Field("action", words=get_args(Action)),
    Field("corrected_response", optional=True),
    Field("failure_category", optional=True, words=get_args(FailureCategory)),
)
UNDO = (Field("id"),)
CONFIG = (Field("bench_results_dir"),)
INGEST = (
    *(Field(name) for name in ("source", "task_type", "prompt", "response", "correction")),
    Field("label", optional=True),
)


async def read_body(request: Request, fields: Sequence[Field]) -> dict[str, Any]:
    """Return the request's fields, None for one that is absent. Raises Answer: 400, 403, 413, 415, 422 or 503."""
    kind = request.headers.get("content-type", "")
    if media_type(kind) != "application/json":
        raise Answer(403 if any_page_can_send(kind) else 415, "Send the body as application/json.")
    body = await _read_json(request)
    if not isinstance(body, dict):
        raise Answer(422, [_fault(["body"], "model_attributes_type", "Input should be an object")])
    problems = [(field.name, found) for field in fields if (found := field.problem(body))]
    if problems:
        raise Answer(422, [_fault(["body", name], *found) for name, found in problems])
    read = {field.name: body.get(field.name) for field in fields}
    if sum(len(value.encode()) for value in read.values() if value) > MOST_TEXT_BYTES:
        raise Answer(413, f"The texts of the body are larger than {MOST_TEXT_BYTES:,} bytes.")
    return read


async def _read_json(request: Request) -> Any:
    received = bytearray()
    try:
        async for piece in request.stream():
            _ROOM.take(len(piece))
            received += piece
            if len(received) > MOST_BYTES:
                raise Answer(413, f"The body is larger than {MOST_BYTES:,} bytes.")
        return json.loads(received)
    except ClientDisconnect:
        raise Answer(400, "The request ended early.") from None
    except (ValueError, RecursionError):
        raise Answer(422, [_fault(["body"], "json_invalid", "JSON decode error")]) from None
    finally:
        _ROOM.give_back(len(received))


def read_number(request: Request, name: str, default: int) -> int:
    """Return a number of the query string, from 0. Raises Answer: 422."""
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise Answer(422, [_fault(["query", name], "int_parsing", "Input should be a valid integer, 0 or more")])
    return int(text)


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fault(where: list[str], kind: str, sentence: str) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": sentence}
