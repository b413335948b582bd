"""The unary calls of a team of reviewers without any I/O: claims, batches, lists, history, snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from avocet_client.calls import Call, new_request_id, submit, timeout_of
from avocet_client.errors import CorrectionsError, error_of_status
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import (
    CHANGE_ACTIONS,
    ORDERS,
    STATUSES,
    Action,
    CandidateFilter,
    ChangeAction,
    FailureCategory,
    ListOrder,
    Order,
    Status,
    number,
)

OTHER = "other"
AnyStatus = Status | Literal["other"]
"""A status, or `other` for the words of other programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision for `submit_many`. The fields are those of `CorrectionsClient.submit`."""

    id: str
    action: Action
    corrected_response: str = ""
    failure_category: FailureCategory | None = None
    reviewer: str = ""
    expected_revision: int | None = None
    lease_id: str = ""


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """What became of one decision: the candidate's new `revision`, or the `error` by which it was refused."""

    id: str
    revision: int = 0
    error: CorrectionsError | None = None


def list_candidates(
    *,
    statuses: Sequence[AnyStatus] = (),
    filter: CandidateFilter | None = None,
    text: str = "",
    order: ListOrder = "file",
    page_size: int = 0,
    page_token: str = "",
    include_record: bool = False,
    timeout: float | None = None,
) -> Call[pb.ListCandidatesResponse]:
    """Return the call of `CorrectionsClient.list_candidates`."""
    words = STATUSES | {OTHER: pb.CANDIDATE_STATUS_UNSPECIFIED}
    request = pb.ListCandidatesRequest(
        statuses=[number("statuses", word, words) for word in statuses],
        filter=filter.message() if filter else None,
        text=text,
        order=number("order", order, ORDERS),
        page_size=page_size,
        page_token=page_token,
        include_record=include_record,
    )
    return Call("ListCandidates", request, timeout_of("ListCandidates", timeout), _whole)


def list_history(
    *,
    id: str = "",
    actors: Sequence[str] = (),
    actions: Sequence[ChangeAction] = (),
    since_revision: int = 0,
    oldest_first: bool = False,
    page_size: int = 0,
    page_token: str = "",
    timeout: float | None = None,
) -> Call[pb.ListHistoryResponse]:
    """Return the call of `CorrectionsClient.list_history`."""
    request = pb.ListHistoryRequest(
        id=id,
        actors=actors,
        actions=[number("actions", word, CHANGE_ACTIONS) for word in actions],
        since_revision=since_revision,
        oldest_first=oldest_first,
        page_size=page_size,
        page_token=page_token,
    )
    return Call("ListHistory", request, timeout_of("ListHistory", timeout), _whole)


def claim(
    *,
    reviewer: str = "",
    limit: int = 1,
    lease_seconds: int = 0,
    filter: CandidateFilter | None = None,
    order: Order = "file",
    request_id: str | None = None,
    timeout: float | None = None,
) -> Call[list[pb.Claim]]:
    """Return the call of `CorrectionsClient.claim`."""
    request = pb.ClaimRequest(
        reviewer=reviewer,
        limit=limit,
        lease_seconds=lease_seconds,
        filter=filter.message() if filter else None,
        order=number("order", order, ORDERS),
        request_id=request_id or new_request_id(),
    )
    return Call("Claim", request, timeout_of("Claim", timeout), _claims, request.request_id)


def renew_claims(
    lease_ids: Iterable[str], *, lease_seconds: int = 0, timeout: float | None = None
) -> Call[pb.RenewClaimsResponse]:
    """Return the call of `CorrectionsClient.renew_claims`."""
    request = pb.RenewClaimsRequest(lease_ids=lease_ids, lease_seconds=lease_seconds)
    return Call("RenewClaims", request, timeout_of("RenewClaims", timeout), _whole)


def release_claims(
    lease_ids: Iterable[str], *, postpone_seconds: int = 0, timeout: float | None = None
) -> Call[pb.ReleaseClaimsResponse]:
    """Return the call of `CorrectionsClient.release_claims`."""
    request = pb.ReleaseClaimsRequest(lease_ids=lease_ids, postpone_seconds=postpone_seconds)
    return Call("ReleaseClaims", request, timeout_of("ReleaseClaims", timeout), _whole)


def submit_many(
    decisions: Iterable[Decision], *, request_id: str | None = None, timeout: float | None = None
) -> Call[list[DecisionResult]]:
    """Return the call of `CorrectionsClient.submit_many`."""
    made = list(decisions)
    request = pb.BatchSubmitRequest(request_id=request_id or new_request_id())
    for one in made:
        single: pb.SubmitRequest = submit(
            one.id,
            action=one.action,
            corrected_response=one.corrected_response,
            failure_category=one.failure_category,
            reviewer=one.reviewer,
            expected_revision=one.expected_revision,
        ).request
        single.request_id, single.lease_id = "", one.lease_id
        request.decisions.append(single)

    def results(response: Any) -> list[DecisionResult]:
        return [_result(one.id, result) for one, result in zip(made, response.results, strict=True)]

    return Call("BatchSubmit", request, timeout_of("BatchSubmit", timeout), results, request.request_id)


def create_snapshot(
    name: str, *, at_revision: int = 0, note: str = "", request_id: str | None = None, timeout: float | None = None
) -> Call[pb.Snapshot]:
    """Return the call of `CorrectionsClient.create_snapshot`."""
    request = pb.CreateSnapshotRequest(
        name=name, at_revision=at_revision, note=note, request_id=request_id or new_request_id()
    )
    return Call("CreateSnapshot", request, timeout_of("CreateSnapshot", timeout), _snapshot, request.request_id)


def get_snapshot(name: str, *, timeout: float | None = None) -> Call[pb.Snapshot]:
    """Return the call of `CorrectionsClient.get_snapshot`."""
    return Call("GetSnapshot", pb.GetSnapshotRequest(name=name), timeout_of("GetSnapshot", timeout), _snapshot)


def list_snapshots(
    *, page_size: int = 0, page_token: str = "", timeout: float | None = None
) -> Call[pb.ListSnapshotsResponse]:
    """Return the call of `CorrectionsClient.list_snapshots`."""
    request = pb.ListSnapshotsRequest(page_size=page_size, page_token=page_token)
    return Call("ListSnapshots", request, timeout_of("ListSnapshots", timeout), _whole)


def delete_snapshot(name: str, *, timeout: float | None = None) -> Call[None]:
    """Return the call of `CorrectionsClient.delete_snapshot`."""
    request = pb.DeleteSnapshotRequest(name=name)
    return Call("DeleteSnapshot", request, timeout_of("DeleteSnapshot", timeout), _nothing)


def _result(id: str, result: pb.BatchSubmitResult) -> DecisionResult:
    if result.HasField("error"):
        return DecisionResult(id, error=error_of_status(result.error))
    return DecisionResult(id, result.candidate.revision)


def _whole(response: Any) -> Any:
    return response


def _claims(response: Any) -> list[pb.Claim]:
    return list(response.claims)


def _snapshot(response: Any) -> pb.Snapshot:
    snapshot: pb.Snapshot = response.snapshot
    return snapshot


def _nothing(response: Any) -> None:
    return None
