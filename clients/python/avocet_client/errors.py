"""What can go wrong with a call: a class for each reason of `error_reason.proto`, told apart by code and reason alone.

CorrectionsError
├── InvalidField
├── NotFound                CandidateNotFound, RunNotFound
├── Conflict                NotInReview, AlreadyInReview, RevisionMismatch
├── RevisionExpired
├── Unauthorized            TokenMissing, TokenRefused
├── TryLater                IngestionNotConfigured, StorageFull, Overloaded, ShuttingDown, StorageFailed,
│                           StorageUnreachable
├── ConfigUnreadable
├── CallTooLong             the server ended the call, whatever its own deadline
├── InternalError
├── RequestTooLarge         one message is longer than the service takes: permanent
├── UnknownReason           a reason that this client is too old to know
├── TransportError          no answer of the service: connection, deadline, a proxy's own error
│   └── DeadlineExceeded
└── ExportCorrupted         the server's summary or revision contradicts what arrived
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "avocet.corrections.v1"
_STATUS_TRAILER = "grpc-status-details-bin"
_TOO_LARGE = "SERVER: Received message larger than max"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request at fault: its path, for example `filter.min_quality_score`, and what is wrong with it."""

    field: str
    description: str


class CorrectionsError(Exception):
    """A call that failed; the root of all errors of this package.

    Attributes:
        code: the gRPC status code.
        reason: the name in `ErrorReason` without its prefix, or "" if the service did not answer.
        message: what to do about it, for people.
        metadata: what `error_reason.proto` documents for the reason.
        field_violations: the fields of the request at fault.
        request_id: that of a write, else "". Give it again to repeat the write without storing it twice.
    """

    reason = ""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Iterable[FieldViolation] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason or type(self).reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} [{self.reason or self.code.name}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.message, self.__dict__)


class InvalidField(CorrectionsError):
    """A field is not valid, or a token or request id was used with other content; `field_violations` names it."""

    reason = "INVALID_FIELD"


class NotFound(CorrectionsError):
    """What the call names does not exist."""


class CandidateNotFound(NotFound):
    """No candidate has this id."""

    reason = "CANDIDATE_NOT_FOUND"


class RunNotFound(NotFound):
    """No readable benchmark run has this id."""

    reason = "RUN_NOT_FOUND"


class SnapshotNotFound(NotFound):
    """No snapshot has this name."""

    reason = "SNAPSHOT_NOT_FOUND"


class SnapshotExists(CorrectionsError):
    """Another snapshot has this name; `metadata["revision"]` has its revision."""

    reason = "SNAPSHOT_EXISTS"


class Conflict(CorrectionsError):
    """The candidate is not as the call supposes; read it again, then decide."""


class NotInReview(Conflict):
    """It was decided before; `metadata["current_status"]` has how."""

    reason = "NOT_IN_REVIEW"


class AlreadyInReview(Conflict):
    """There is nothing to undo."""

    reason = "ALREADY_IN_REVIEW"


class RevisionMismatch(Conflict):
    """It has changed since it was read; `metadata["current_revision"]` has its revision."""

    reason = "REVISION_MISMATCH"


class Claimed(Conflict):
    """Another reviewer holds it: `metadata["reviewer"]`, until `metadata["expires_at"]`."""

    reason = "CLAIMED"


class ClaimLost(Conflict):
    """The lease is not its current claim; somebody else may be at work. Claim again."""

    reason = "CLAIM_LOST"


class RevisionExpired(CorrectionsError):
    """The revision or token is no longer kept; start again without it."""

    reason = "REVISION_EXPIRED"


class Unauthorized(CorrectionsError):
    """The call's token does not do."""


class TokenMissing(Unauthorized):
    """The call has no token, and the method asks for one."""

    reason = "TOKEN_MISSING"


class TokenRefused(Unauthorized):
    """The token is not the right one."""

    reason = "TOKEN_REFUSED"


class TryLater(CorrectionsError):
    """The server cannot do it now; keep the data, and call again after a pause."""


class IngestionNotConfigured(TryLater):
    """The server accepts no corrections until its operator sets an ingestion secret."""

    reason = "INGESTION_NOT_CONFIGURED"


class StorageFull(TryLater):
    """The server's disk is full; nothing was stored, except for what an import had stored before."""

    reason = "STORAGE_FULL"


class Overloaded(TryLater):
    """Too many calls at once; nothing was stored, except for what an import had stored before."""

    reason = "OVERLOADED"


class ShuttingDown(TryLater):
    """The server is stopping: it has not begun the call, and nothing was stored; or it ends a watch."""

    reason = "SHUTTING_DOWN"


class StorageFailed(TryLater):
    """The server's storage failed; whether the change was stored is unknown. Repeat a write with its `request_id`."""

    reason = "STORAGE_FAILED"


class StorageUnreachable(TryLater):
    """The server cannot reach its store now; whether the change was stored is unknown. Repeat with its `request_id`."""

    reason = "STORAGE_UNREACHABLE"


class ConfigUnreadable(CorrectionsError):
    """The server's config file is not valid YAML or cannot be written; somebody must repair it by hand."""

    reason = "CONFIG_UNREADABLE"


class InternalError(CorrectionsError):
    """Something unforeseen; the server's log has it under `metadata["correlation_id"]`."""

    reason = "INTERNAL"


class CallTooLong(CorrectionsError):
    """The call took longer than the server lets any call take; whether a change was stored is unknown.

    Exports and bulk ingests continue over it by themselves.
    """

    reason = "CALL_TOO_LONG"


class RequestTooLarge(CorrectionsError):
    """One message is longer than the service takes. Nothing was stored, and to send it again does not help."""


class UnknownReason(CorrectionsError):
    """The service gave a reason that this version does not know; `code` and `message` tell what it can."""


class TransportError(CorrectionsError):
    """The service did not answer. Whether a write was stored is unknown; repeat it with its `request_id`."""


class DeadlineExceeded(TransportError):
    """The answer did not come in time. Whether a write was stored is unknown; repeat it with its `request_id`."""


class ExportCorrupted(CorrectionsError):
    """What arrived is not what the server says it sent. Nothing is wrong with single examples; some may be missing."""


def _with_reason(root: type[CorrectionsError]) -> Iterable[type[CorrectionsError]]:
    for kind in root.__subclasses__():
        if kind.reason:
            yield kind
        yield from _with_reason(kind)


BY_REASON: Mapping[str, type[CorrectionsError]] = {kind.reason: kind for kind in _with_reason(CorrectionsError)}


def error_of_cancelled(cancelled: asyncio.CancelledError) -> CorrectionsError:
    """Return the error of a call that was cancelled. If this task was cancelled, raise `cancelled` again."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise cancelled
    return TransportError("the call was cancelled", code=grpc.StatusCode.CANCELLED)


def error_of_call(error: Any, request_id: str = "") -> CorrectionsError:
    """Return the error of a call that ended with a `grpc.RpcError`, sync or async."""
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_TRAILER:
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if _info(status):
                return error_of_status(status, request_id)
    code = error.code()
    details = error.details() or code.name
    return _kind_without_reason(code, details)(details, code=code, request_id=request_id)


def error_of_status(status: status_pb2.Status, request_id: str = "") -> CorrectionsError:
    """Return the error that a `google.rpc.Status` describes."""
    info = _info(status) or error_details_pb2.ErrorInfo()
    return BY_REASON.get(info.reason, UnknownReason)(
        status.message,
        code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        reason=info.reason,
        metadata=info.metadata,
        field_violations=_violations(status),
        request_id=request_id,
    )


def _kind_without_reason(code: grpc.StatusCode, details: str) -> type[CorrectionsError]:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded
    # gRPC refuses it before the service sees it, and has nothing but its words to tell it from other exhaustion.
    is_large = code is grpc.StatusCode.RESOURCE_EXHAUSTED and details.startswith(_TOO_LARGE)
    return RequestTooLarge if is_large else TransportError


def _info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _violations(status: status_pb2.Status) -> Iterable[FieldViolation]:
    bad = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            yield from (FieldViolation(violation.field, violation.description) for violation in bad.field_violations)


def _restored(kind: type[CorrectionsError], message: str, state: dict[str, Any]) -> CorrectionsError:
    error = kind(message)
    error.__dict__.update(state)
    return error
