"""Each domain error's code, reason and public sentence, and the `google.rpc.Status` made of them.

`TABLE` has them. `status_of` has the sentences that depend on the error: for a refused field, for a missing role, and
for a config file that is being written.

No text here comes from an exception's own message, so that no path, stack or other caller's data can leave by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from avocet_client.v1.error_reason_pb2 import ErrorReason
from avocet_grpc.core import errors
from avocet_grpc.core.record import replace_surrogates

DOMAIN = "avocet.corrections.v1"
REASON_PREFIX = "ERROR_REASON_"
# A client reads at most 8 KB of trailing metadata by default, and each value stands there up to twice, in base64.
MAX_VALUE_BYTES = 1_000
RETRY_DELAY = duration_pb2.Duration(seconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a caller sees of one error."""

    code: StatusCode
    reason: ErrorReason.ValueType
    sentence: str


def _entry(code: StatusCode, reason: str, sentence: str) -> Entry:
    return Entry(code, ErrorReason.Value(REASON_PREFIX + reason), sentence)


TABLE: Mapping[type[errors.CorrectionsError], Entry] = MappingProxyType(
    {
        errors.InvalidField: _entry(
            StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "A field of the request is not valid; correct it."
        ),
        errors.CandidateNotFound: _entry(
            StatusCode.NOT_FOUND, "CANDIDATE_NOT_FOUND", "No candidate has this id; take ids from Queue."
        ),
        errors.RunNotFound: _entry(
            StatusCode.NOT_FOUND, "RUN_NOT_FOUND", "No readable benchmark run has this id; ListRuns lists the ids."
        ),
        errors.NotInReview: _entry(
            StatusCode.FAILED_PRECONDITION,
            "NOT_IN_REVIEW",
            "The candidate is not in review; read it again, and undo its decision before you decide again.",
        ),
        errors.AlreadyInReview: _entry(
            StatusCode.FAILED_PRECONDITION,
            "ALREADY_IN_REVIEW",
            "The candidate is in review already; there is nothing to undo.",
        ),
        errors.RevisionMismatch: _entry(
            StatusCode.ABORTED,
            "REVISION_MISMATCH",
            "The candidate has changed since it was read; read it again, then decide again.",
        ),
        errors.RevisionExpired: _entry(
            StatusCode.OUT_OF_RANGE,
            "REVISION_EXPIRED",
            "The server no longer keeps that revision; start again without the token and the revision.",
        ),
        errors.IngestionNotConfigured: _entry(
            StatusCode.UNAVAILABLE,
            "INGESTION_NOT_CONFIGURED",
            "The server has no ingestion secret; keep the correction and try again later.",
        ),
        errors.TokenMissing: _entry(
            StatusCode.UNAUTHENTICATED,
            "TOKEN_MISSING",
            "The call has no token; send the metadata 'authorization: Bearer <token>'.",
        ),
        errors.TokenRefused: _entry(
            StatusCode.PERMISSION_DENIED,
            "TOKEN_REFUSED",
            "The token is not valid; ask the server's operator for a valid one.",
        ),
        errors.ClaimLost: _entry(
            StatusCode.ABORTED,
            "CLAIM_LOST",
            "The lease is not the candidate's current claim, and somebody else may be at work; claim again.",
        ),
        errors.Claimed: _entry(
            StatusCode.FAILED_PRECONDITION,
            "CLAIMED",
            "Another reviewer holds the candidate; take another one, or wait until the claim ends.",
        ),
        errors.SnapshotNotFound: _entry(
            StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND", "No snapshot has this name; take names from ListSnapshots."
        ),
        errors.SnapshotExists: _entry(
            StatusCode.ALREADY_EXISTS,
            "SNAPSHOT_EXISTS",
            "Another snapshot has this name; choose another name, or delete that snapshot.",
        ),
        errors.StorageFull: _entry(
            StatusCode.RESOURCE_EXHAUSTED,
            "STORAGE_FULL",
            "The server's disk is full; nothing was stored, except for what an import had stored before. Try again when"
            " the operator has made room.",
        ),
        errors.Overloaded: _entry(
            StatusCode.RESOURCE_EXHAUSTED,
            "OVERLOADED",
            "Too many calls are waiting; nothing was stored, except for what an import had stored before. Try again"
            " after a pause.",
        ),
        errors.CallTooLong: _entry(
            StatusCode.DEADLINE_EXCEEDED,
            "CALL_TOO_LONG",
            "The call took longer than the server allows; ask for less, or continue a stream with its resume_token.",
        ),
        errors.ShuttingDown: _entry(
            StatusCode.UNAVAILABLE,
            "SHUTTING_DOWN",
            "The server is stopping; send the call again, to another server or after a pause.",
        ),
        errors.StorageFailed: _entry(
            StatusCode.UNAVAILABLE,
            "STORAGE_FAILED",
            "The server's storage failed, and it is unknown whether the change was stored; try again later, and send a"
            " write with the request_id that it had.",
        ),
        errors.StorageUnreachable: _entry(
            StatusCode.UNAVAILABLE,
            "STORAGE_UNREACHABLE",
            "The server cannot reach its database, and it is unknown whether the change was stored; try again later,"
            " and send a write with the request_id that it had.",
        ),
        errors.ConfigUnreadable: _entry(
            StatusCode.FAILED_PRECONDITION,
            "CONFIG_UNREADABLE",
            "The server's config file cannot be written, or is not what it must be: a regular file of at most 1 MB, a"
            " YAML mapping in which `sft` is a mapping of its own, without an anchor. It was left as it is; repair it"
            " by hand.",
        ),
    }
)
INTERNAL = _entry(
    StatusCode.INTERNAL, "INTERNAL", "An unexpected error happened; tell the server's operator the correlation id "
)


def entry_of(error: errors.CorrectionsError) -> Entry:
    """Return the table's entry for this error, or for the nearest class that it is derived from."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)


def status_of(error: errors.CorrectionsError) -> status_pb2.Status:
    """Return the error as a `google.rpc.Status` with its details."""
    entry = entry_of(error)
    sentence, metadata, details = entry.sentence, {}, list[Message]()
    match error:
        case errors.InvalidField():
            sentence, metadata = f"{error.field} {error.problem}.", {"field": error.field}
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.problem)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        case errors.CandidateNotFound():
            metadata = {"id": error.id}
            details.append(_resource(f"{DOMAIN}.Candidate", error.id, sentence))
        case errors.RunNotFound():
            metadata = {"run_id": error.run_id}
            details.append(_resource(f"{DOMAIN}.Run", error.run_id, sentence))
        case errors.NotInReview():
            metadata = {"current_status": error.current_status}
        case errors.Claimed():
            metadata = {"reviewer": error.reviewer, "expires_at": _rfc3339(error.expires_at)}
        case errors.SnapshotNotFound():
            metadata = {"snapshot": error.name}
            details.append(_resource(f"{DOMAIN}.Snapshot", error.name, sentence))
        case errors.SnapshotExists():
            metadata = {"snapshot": error.name, "revision": str(error.revision)}
            details.append(_resource(f"{DOMAIN}.Snapshot", error.name, sentence))
        case errors.TokenRefused() if error.role:
            sentence, metadata = (
                f"The token lacks the role '{error.role}' that this method requires.",
                {"role": error.role},
            )
        case errors.ConfigUnreadable() if error.is_being_written:
            sentence = "Another program is writing the server's config file, and nothing was changed; try again."
            details.append(error_details_pb2.RetryInfo(retry_delay=RETRY_DELAY))
        case errors.Overloaded():
            details.append(error_details_pb2.RetryInfo(retry_delay=RETRY_DELAY))
        case errors.RevisionMismatch():
            metadata = {"current_revision": str(error.current_revision)}
    return _status(entry, sentence, metadata, details)


def internal_status(correlation_id: str) -> status_pb2.Status:
    """Return what a caller sees of an unforeseen error."""
    return _status(INTERNAL, f"{INTERNAL.sentence}{correlation_id}.", {"correlation_id": correlation_id}, [])


def _status(entry: Entry, sentence: str, metadata: dict[str, str], details: list[Message]) -> status_pb2.Status:
    reason = ErrorReason.Name(entry.reason).removeprefix(REASON_PREFIX)
    shown = {name: _short(value) for name, value in metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=shown)
    code: int = entry.code.value[0]
    return status_pb2.Status(code=code, message=sentence, details=[_packed(m) for m in (info, *details)])


def _resource(kind: str, name: str, sentence: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(resource_type=kind, resource_name=_short(name), description=sentence)


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _short(value: str) -> str:
    return replace_surrogates(value).encode()[:MAX_VALUE_BYTES].decode(errors="ignore")
