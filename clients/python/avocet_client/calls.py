"""The unary methods without any I/O: each checks its arguments, and gives the request, its deadline, and how to read
the answer. The sync and the async client carry the same calls out.

`timeout` is in seconds, everywhere; None means the method's own of `service_config.json`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from avocet_client.service_config import TIMEOUTS
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import ACTIONS, CATEGORIES, ORDERS, Action, CandidateFilter, FailureCategory, Order, number

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call to make."""

    method: str
    request: Any
    timeout: float
    result: Callable[[Any], T]
    request_id: str = ""


def new_request_id() -> str:
    """A request id that nobody has used."""
    return str(uuid.uuid4())


def timeout_of(method: str, timeout: float | None) -> float:
    """The stated deadline, or the method's own."""
    return TIMEOUTS[method] if timeout is None else timeout


def list_runs(*, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> Call[pb.ListRunsResponse]:
    """One page of the benchmark runs, newest name first. `page_size` 0 means 50, at most 500."""
    request = pb.ListRunsRequest(page_size=page_size, page_token=page_token)
    return Call("ListRuns", request, timeout_of("ListRuns", timeout), _whole)


def import_run(run_id: str, *, timeout: float | None = None) -> Call[pb.ImportResponse]:
    """Take a benchmark run's candidates into the store; what is known already is skipped.

    Raises RunNotFound, InvalidField. Not retried by itself; calling it again does no harm.
    """
    return Call("Import", pb.ImportRequest(run_id=run_id), timeout_of("Import", timeout), _whole)


def queue(
    *,
    page: int = 0,
    per_page: int = 0,
    page_token: str = "",
    filter: CandidateFilter | None = None,
    order: Order = "file",
    timeout: float | None = None,
) -> Call[pb.QueueResponse]:
    """One page of the candidates in review. Follow `next_page_token` to see each once; `page` (from 1) is for jumping.

    `per_page` 0 means 20, at most 500. Raises InvalidField, also for a token with another filter or order.
    """
    request = pb.QueueRequest(
        page=page,
        per_page=per_page,
        page_token=page_token,
        filter=filter.message() if filter else None,
        order=number("order", order, ORDERS),
    )
    return Call("Queue", request, timeout_of("Queue", timeout), _whole)


def get_candidate(id: str, *, timeout: float | None = None) -> Call[pb.Candidate]:
    """One candidate, in review or not. Raises CandidateNotFound."""
    return Call("GetCandidate", pb.GetCandidateRequest(id=id), timeout_of("GetCandidate", timeout), _candidate)


def submit(
    id: str,
    *,
    action: Action,
    corrected_response: str = "",
    failure_category: FailureCategory | None = None,
    reviewer: str = "",
    expected_revision: int | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[pb.Candidate]:
    """Decide a candidate in review; `correct` needs a `corrected_response`. Gives it as the decision left it.

    Durable when it returns. `request_id` is made where none is given. Raises CandidateNotFound, NotInReview,
    RevisionMismatch, InvalidField.
    """
    unspecified = pb.FAILURE_CATEGORY_UNSPECIFIED
    request = pb.SubmitRequest(
        id=id,
        action=number("action", action, ACTIONS),
        corrected_response=corrected_response,
        failure_category=number("failure_category", failure_category, CATEGORIES) if failure_category else unspecified,
        reviewer=reviewer,
        request_id=request_id or new_request_id(),
        expected_revision=expected_revision,
    )
    return Call("Submit", request, timeout_of("Submit", timeout), _candidate, request.request_id)


def undo(
    id: str,
    *,
    reviewer: str = "",
    expected_revision: int | None = None,
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[pb.Candidate]:
    """Take the last decision on a candidate back. Gives it as it is then.

    Raises CandidateNotFound, AlreadyInReview, RevisionMismatch, InvalidField.
    """
    request = pb.UndoRequest(
        id=id, reviewer=reviewer, request_id=request_id or new_request_id(), expected_revision=expected_revision
    )
    return Call("Undo", request, timeout_of("Undo", timeout), _candidate, request.request_id)


def stats(*, filter: CandidateFilter | None = None, timeout: float | None = None) -> Call[pb.StatsResponse]:
    """Counts of the candidates, and the store's revision."""
    request = pb.StatsRequest(filter=filter.message() if filter else None)
    return Call("Stats", request, timeout_of("Stats", timeout), _whole)


def get_config(*, timeout: float | None = None) -> Call[pb.Config]:
    """The configuration that the service shares with the legacy application."""
    return Call("GetConfig", pb.GetConfigRequest(), timeout_of("GetConfig", timeout), _config)


def set_config(*, bench_results_dir: str, timeout: float | None = None) -> Call[pb.Config]:
    """Change the configuration: the directory of benchmark runs on the server, absolute, or "" for none.

    Raises InvalidField, ConfigUnreadable. Not retried by itself; calling it again does no harm.
    """
    request = pb.SetConfigRequest(config=pb.Config(bench_results_dir=bench_results_dir))
    return Call("SetConfig", request, timeout_of("SetConfig", timeout), _config)


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
) -> Call[pb.IngestResponse]:
    """Store a correction that a user of yours made, as an approved record. Durable when it returns.

    Raises IngestionNotConfigured, TokenMissing, TokenRefused, InvalidField; keep the correction on TryLater and
    TransportError, and send it again with the error's `request_id`.
    """
    request = pb.IngestRequest(
        source=source,
        task_type=task_type,
        prompt=prompt,
        response=response,
        correction=correction,
        label=label,
        request_id=request_id or new_request_id(),
    )
    return Call("Ingest", request, timeout_of("Ingest", timeout), _whole, request.request_id)


def _whole(response: Any) -> Any:
    return response


def _candidate(response: Any) -> pb.Candidate:
    candidate: pb.Candidate = response.candidate
    return candidate


def _config(response: Any) -> pb.Config:
    config: pb.Config = response.config
    return config
