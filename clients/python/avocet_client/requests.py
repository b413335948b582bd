"""Requests that cannot be sent: the caller's own mistakes, told before anything is sent.

Once gRPC has met such a request, nobody can tell it from an outage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

import grpc
from google.protobuf.message import Message

from avocet_client.errors import FieldViolation, InvalidField, RequestTooLarge

M = TypeVar("M", bound=Message)
P = ParamSpec("P")

LARGEST_BYTES = 16 << 20
"""The longest message that the service takes, of a method that brings texts."""
LARGEST_PLAIN_BYTES = 2 << 20
"""The same of the other methods."""
BRING_TEXTS = frozenset({"Submit", "BatchSubmit", "Ingest", "StreamIngest", "UploadRun"})
SHOWN_CHARACTERS = 20


def sendable(kind: Callable[P, M], within: str = "") -> Callable[P, M]:
    """Return the message class `kind` as a function that raises InvalidField for half a character in a text.

    The error names the field, below the field `within` of the request.
    """

    def made(*args: P.args, **fields: P.kwargs) -> M:
        try:
            return kind(*args, **fields)
        except UnicodeEncodeError as error:
            raise _not_text(error, fields, f"{within}." if within else "") from None

    return made


def check_size(method: str, request: Message, request_id: str = "") -> None:
    """Raise RequestTooLarge for a message that is longer than the service takes."""
    size, most = request.ByteSize(), LARGEST_BYTES if method in BRING_TEXTS else LARGEST_PLAIN_BYTES
    if size > most:
        what = f"The request has {size:,} bytes; the service takes at most {most:,}. Shorten its texts, or split it."
        raise RequestTooLarge(what, code=grpc.StatusCode.RESOURCE_EXHAUSTED, request_id=request_id)


def _not_text(error: UnicodeEncodeError, fields: Mapping[str, Any], within: str) -> InvalidField:
    name = next((name for name, text in _texts(fields) if text == error.object), "")
    shown = ascii(error.object[max(0, error.start - SHOWN_CHARACTERS) : error.end + SHOWN_CHARACTERS])
    problem = f"{shown} cannot be sent as text: it has a byte that is not UTF-8, or half of a surrogate pair"
    request_id = fields.get("request_id") or ""
    refused = InvalidField(
        f"{within}{name}: {problem}",
        code=grpc.StatusCode.INVALID_ARGUMENT,
        field_violations=[FieldViolation(f"{within}{name}", problem)],
        request_id="" if name == "request_id" else request_id,
    )
    refused.reason = ""  # The service has not seen it.
    return refused


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Iterable):
            yield from ((f"{name}[{i}]", each) for i, each in enumerate(value) if isinstance(each, str))
