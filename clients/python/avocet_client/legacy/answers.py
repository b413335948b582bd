"""What is sent back: JSON, and the one table from error to status code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import grpc
from starlette.responses import Response

from avocet_client.errors import CorrectionsError, InvalidField, RequestTooLarge

STATUS: Mapping[grpc.StatusCode, int] = MappingProxyType(
    {
        grpc.StatusCode.INVALID_ARGUMENT: 422,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.PERMISSION_DENIED: 403,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.FAILED_PRECONDITION: 409,
        grpc.StatusCode.ABORTED: 409,
        grpc.StatusCode.OUT_OF_RANGE: 409,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.DEADLINE_EXCEEDED: 503,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    }
)
"""Any other code is 500."""
_NAMES = {"id", "run_id"}
_HEADERS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "frame-ancestors 'none'",
}


class Answer(Exception):
    """Ends a request with a status code and a `detail`: a sentence, or a list of fields at fault."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def json_answer(content: Any, status: int = 200) -> Response:
    """Return JSON in ASCII. Raises ValueError for NaN and infinities, which no browser reads."""
    return Response(json.dumps(content, allow_nan=False), status, headers=_HEADERS, media_type="application/json")


def error_answer(status: int, detail: Any) -> Response:
    """Return an error as the legacy service words it: `{"detail": ..}`."""
    return json_answer({"detail": detail}, status)


def answer_of(error: CorrectionsError) -> Response:
    """Return the answer to a request whose call failed."""
    return error_answer(_status(error), error.message)


def attachment(name: str) -> dict[str, str]:
    """Return the headers of a download under this name."""
    return {**_HEADERS, "content-disposition": f'attachment; filename="{name}"'}


def _status(error: CorrectionsError) -> int:
    # An id that the service refuses as not valid is one that nothing can have.
    faults = {violation.field for violation in error.field_violations}
    if isinstance(error, InvalidField) and faults and faults <= _NAMES:
        return 404
    if isinstance(error, RequestTooLarge):
        return 413
    return STATUS.get(error.code, 500)
