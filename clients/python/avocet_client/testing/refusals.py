"""The errors of the in-memory service: the codes, reasons and details that the service answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from avocet_client.errors import DOMAIN

STATUS_TRAILER = "grpc-status-details-bin"
CODES: Mapping[str, grpc.StatusCode] = {
    "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
    "CANDIDATE_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "RUN_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SNAPSHOT_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SNAPSHOT_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "NOT_IN_REVIEW": grpc.StatusCode.FAILED_PRECONDITION,
    "ALREADY_IN_REVIEW": grpc.StatusCode.FAILED_PRECONDITION,
    "CLAIMED": grpc.StatusCode.FAILED_PRECONDITION,
    "CONFIG_UNREADABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "REVISION_MISMATCH": grpc.StatusCode.ABORTED,
    "CLAIM_LOST": grpc.StatusCode.ABORTED,
    "REVISION_EXPIRED": grpc.StatusCode.OUT_OF_RANGE,
    "TOKEN_MISSING": grpc.StatusCode.UNAUTHENTICATED,
    "TOKEN_REFUSED": grpc.StatusCode.PERMISSION_DENIED,
    "STORAGE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "OVERLOADED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "CALL_TOO_LONG": grpc.StatusCode.DEADLINE_EXCEEDED,
    "INGESTION_NOT_CONFIGURED": grpc.StatusCode.UNAVAILABLE,
    "SHUTTING_DOWN": grpc.StatusCode.UNAVAILABLE,
    "STORAGE_FAILED": grpc.StatusCode.UNAVAILABLE,
    "STORAGE_UNREACHABLE": grpc.StatusCode.UNAVAILABLE,
    "INTERNAL": grpc.StatusCode.INTERNAL,
}
"""The code of each reason."""
RESOURCES: Mapping[str, tuple[str, str]] = {
    "CANDIDATE_NOT_FOUND": ("Candidate", "id"),
    "RUN_NOT_FOUND": ("Run", "run_id"),
    "SNAPSHOT_NOT_FOUND": ("Snapshot", "snapshot"),
    "SNAPSHOT_EXISTS": ("Snapshot", "snapshot"),
}
"""What a reason is about, and the metadata that has its name."""

EXPIRED = (
    "REVISION_EXPIRED",
    "The server no longer keeps that revision; start again without the token and the revision.",
)
"""The reason and sentence of a token or revision that is too old."""


class Refusal(Exception):
    """A call, or one item of it, that is refused."""

    def __init__(self, reason: str, message: str, *, field: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.metadata = ({"field": field} if field else {}) | metadata

    def status(self) -> status_pb2.Status:
        """Return the refusal as a `google.rpc.Status`.

        It has `ErrorInfo`, `BadRequest` if a field is at fault, and `ResourceInfo` if a candidate, run or snapshot is.
        """
        details: list[Any] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata),
        ]
        if self.field:
            problem = str(self).removeprefix(f"{self.field} ").removesuffix(".")
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=problem)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if self.reason in RESOURCES:
            kind, key = RESOURCES[self.reason]
            name = self.metadata.get(key, "")
            resource = f"{DOMAIN}.{kind}"
            details.append(
                error_details_pb2.ResourceInfo(resource_type=resource, resource_name=name, description=str(self))
            )
        return status_pb2.Status(
            code=CODES[self.reason].value[0], message=str(self), details=[_packed(detail) for detail in details]
        )


def invalid(field: str, problem: str) -> Refusal:
    """Return the refusal of a field."""
    return Refusal("INVALID_FIELD", f"{field} {problem}.", field=field)


class CallError(grpc.aio.AioRpcError):
    """A call that failed, as both kinds of channel raise it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Sequence[tuple[str, str | bytes]] = ()) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details)


def call_error(refusal: Refusal) -> CallError:
    """Return the error of a call that was refused."""
    trailer = (STATUS_TRAILER, refusal.status().SerializeToString())
    return CallError(CODES[refusal.reason], str(refusal), [trailer])


def _packed(message: Any) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
