"""Requests: JSON bodies with fields of stated types, and page numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from starlette.requests import Request

from avocet_client.legacy.answers import Answer
from avocet_client.web.guard import any_page_can_send
from avocet_client.words import Action, FailureCategory

MOST_BYTES = 17_000_000
"""A larger body is refused; the service takes 16 MB."""


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
        if self.words and value not in self.words:
            return "literal_error", f"Input should be one of {', '.join(self.words)}"
        return None


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
    """Return the request's fields, None for one that is absent. Raises Answer: 403, 413, 415 or 422."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Answer(403 if any_page_can_send(kind) else 415, "Send the body as application/json.")
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > MOST_BYTES:
            raise Answer(413, f"The body is larger than {MOST_BYTES:,} bytes.")
    try:
        body = json.loads(received)
    except (ValueError, RecursionError):
        raise Answer(422, [_fault(["body"], "json_invalid", "JSON decode error")]) from None
    if not isinstance(body, dict):
        raise Answer(422, [_fault(["body"], "model_attributes_type", "Input should be an object")])
    problems = [(field.name, found) for field in fields if (found := field.problem(body))]
    if problems:
        raise Answer(422, [_fault(["body", name], *found) for name, found in problems])
    return {field.name: body.get(field.name) for field in fields}


def read_number(request: Request, name: str, default: int) -> int:
    """Return a number of the query string, from 0. Raises Answer: 422."""
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise Answer(422, [_fault(["query", name], "int_parsing", "Input should be a valid integer, 0 or more")])
    return int(text)


def _fault(where: list[str], kind: str, sentence: str) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": sentence}
