"""The unary methods without any I/O: each checks its arguments and returns the call to make.

Both clients carry out these calls. `CorrectionsClient` documents each method; a test holds the three signatures equal.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from avocet_client.connection import Metadata
from avocet_client.messages import chat_message
from avocet_client.requests import sendable
from avocet_client.service_config import TIMEOUTS
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import (
    ACTIONS,
    CATEGORIES,
    CLAIM_STATES,
    ORDERS,
    Action,
    CandidateFilter,
    ClaimWord,
    FailureCategory,
    Order,
    number,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call to make: its request, its deadline in seconds, how to read the answer, and its own metadata."""

    method: str
    request: Any
    timeout: float
    result: Callable[[Any], T]
    metadata: Metadata = ()
    request_id: str = ""


def new_request_id() -> str:
    """A request id that nobody has used."""
    return str(uuid.uuid4())


def timeout_of(method: str, timeout: float | None) -> float:
    """The stated deadline, or the method's own."""
    return TIMEOUTS[method] if timeout is None else timeout


def list_runs(
    *, page_size: int = 0, page_token: str = "", timeout: float | None = None, metadata: Metadata = ()
) -> Call[pb.ListRunsResponse]:
    """Return the call of `CorrectionsClient.list_runs`."""
    request = sendable(pb.ListRunsRequest)(page_size=page_size, page_token=page_token)
    return Call("ListRuns", request, timeout_of("ListRuns", timeout), whole, metadata)


def import_run(
    run_id: str,
    *,
    on_conflict: pb.OnConflict.ValueType = pb.ON_CONFLICT_UNSPECIFIED,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[pb.ImportResponse]:
    """Return the call of `CorrectionsClient.import_run`."""
    request = sendable(pb.ImportRequest)(run_id=run_id, on_conflict=on_conflict)
    return Call("Import", request, timeout_of("Import", timeout), whole, metadata)


def queue(
    *,
    page: int = 0,
    per_page: int = 0,
    page_token: str = "",
    filter: CandidateFilter | None = None,
    order: Order = "file",
    include_record: bool = False,
    claims: ClaimWord = "any",
    reviewer: str = "",
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[pb.QueueResponse]:
    """Return the call of `CorrectionsClient.queue`."""
    request = sendable(pb.QueueRequest)(
        page=page,
        per_page=per_page,
        page_token=page_token,
        filter=filter.message() if filter else None,
        order=number("order", order, ORDERS),
        include_record=include_record,
        claims=number("claims", claims, CLAIM_STATES),
        reviewer=reviewer,
    )
    return Call("Queue", request, timeout_of("Queue", timeout), whole, metadata)


def get_candidate(
    id: str, *, include_record: bool = False, timeout: float | None = None, metadata: Metadata = ()
) -> Call[pb.Candidate]:
    """Return the call of `CorrectionsClient.get_candidate`."""
    request = sendable(pb.GetCandidateRequest)(id=id, include_record=include_record)
    return Call("GetCandidate", request, timeout_of("GetCandidate", timeout), _candidate, metadata)


def submit(
    id: str,
    *,
    action: Action,
    corrected_response: str = "",
    corrected_message: Mapping[str, Any] | None = None,
    failure_category: FailureCategory | None = None,
    reviewer: str = "",
    lease_id: str = "",
    expected_revision: int | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[pb.Candidate]:
    """Return the call of `CorrectionsClient.submit`."""
    unspecified = pb.FAILURE_CATEGORY_UNSPECIFIED
    request = sendable(pb.SubmitRequest)(
        id=id,
        action=number("action", action, ACTIONS),
        corrected_response=corrected_response,
        corrected_message=None if corrected_message is None else chat_message(corrected_message),
        failure_category=number("failure_category", failure_category, CATEGORIES) if failure_category else unspecified,
        reviewer=reviewer,
        lease_id=lease_id,
        request_id=request_id or new_request_id(),
        expected_revision=expected_revision,
    )
    return Call("Submit", request, timeout_of("Submit", timeout), _candidate, metadata, request.request_id)


def undo(
    id: str,
    *,
    reviewer: str = "",
    expected_revision: int | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[pb.Candidate]:
    """Return the call of `CorrectionsClient.undo`."""
    request = sendable(pb.UndoRequest)(
        id=id, reviewer=reviewer, request_id=request_id or new_request_id(), expected_revision=expected_revision
    )
    return Call("Undo", request, timeout_of("Undo", timeout), _candidate, metadata, request.request_id)


def stats(
    *, filter: CandidateFilter | None = None, timeout: float | None = None, metadata: Metadata = ()
) -> Call[pb.StatsResponse]:
    """Return the call of `CorrectionsClient.stats`."""
    request = sendable(pb.StatsRequest)(filter=filter.message() if filter else None)
    return Call("Stats", request, timeout_of("Stats", timeout), whole, metadata)


def get_version(*, timeout: float | None = None, metadata: Metadata = ()) -> Call[pb.GetVersionResponse]:
    """Return the call of `CorrectionsClient.get_version`."""
    return Call("GetVersion", pb.GetVersionRequest(), timeout_of("GetVersion", timeout), whole, metadata)


def get_config(*, timeout: float | None = None, metadata: Metadata = ()) -> Call[pb.Config]:
    """Return the call of `CorrectionsClient.get_config`."""
    return Call("GetConfig", pb.GetConfigRequest(), timeout_of("GetConfig", timeout), _config, metadata)


def set_config(*, bench_results_dir: str, timeout: float | None = None, metadata: Metadata = ()) -> Call[pb.Config]:
    """Return the call of `CorrectionsClient.set_config`."""
    request = sendable(pb.SetConfigRequest)(config=sendable(pb.Config, "config")(bench_results_dir=bench_results_dir))
    return Call("SetConfig", request, timeout_of("SetConfig", timeout), _config, metadata)


def ingest(
    *,
    source: str,
    task_type: str,
    prompt: str,
    correction: str,
    response: str = "",
    label: str | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[pb.IngestResponse]:
    """Return the call of `CorrectionsClient.ingest`."""
    request = sendable(pb.IngestRequest)(
        source=source,
        task_type=task_type,
        prompt=prompt,
        response=response,
        correction=correction,
        label=label,
        request_id=request_id or new_request_id(),
    )
    return Call("Ingest", request, timeout_of("Ingest", timeout), whole, metadata, request.request_id)


def whole(response: Any) -> Any:
    """The answer as it came, for `Call.result`."""
    return response


def _candidate(response: Any) -> pb.Candidate:
    candidate: pb.Candidate = response.candidate
    return candidate


def _config(response: Any) -> pb.Config:
    config: pb.Config = response.config
    return config
