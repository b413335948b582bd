"""The unary calls of a team of reviewers without any I/O: claims, lists, history, snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from avocet_client.calls import Call, new_request_id, timeout_of, whole
from avocet_client.connection import Metadata
from avocet_client.requests import sendable
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import (
    CHANGE_ACTIONS,
    ORDERS,
    STATUSES,
    CandidateFilter,
    ChangeAction,
    ListOrder,
    Order,
    Status,
    number,
)

OTHER = "other"
AnyStatus = Status | Literal["other"]
"""A status, or `other` for the words of other programs."""


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
    metadata: Metadata = (),
) -> Call[pb.ListCandidatesResponse]:
    """Return the call of `CorrectionsClient.list_candidates`."""
    words = STATUSES | {OTHER: pb.CANDIDATE_STATUS_UNSPECIFIED}
    request = sendable(pb.ListCandidatesRequest)(
        statuses=[number("statuses", word, words) for word in statuses],
        filter=filter.message() if filter else None,
        text=text,
        order=number("order", order, ORDERS),
        page_size=page_size,
        page_token=page_token,
        include_record=include_record,
    )
    return Call("ListCandidates", request, timeout_of("ListCandidates", timeout), whole, metadata)


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
    metadata: Metadata = (),
) -> Call[pb.ListHistoryResponse]:
    """Return the call of `CorrectionsClient.list_history`."""
    request = sendable(pb.ListHistoryRequest)(
        id=id,
        actors=actors,
        actions=[number("actions", word, CHANGE_ACTIONS) for word in actions],
        since_revision=since_revision,
        oldest_first=oldest_first,
        page_size=page_size,
        page_token=page_token,
    )
    return Call("ListHistory", request, timeout_of("ListHistory", timeout), whole, metadata)


def claim(
    *,
    reviewer: str = "",
    limit: int = 1,
    lease_seconds: int = 0,
    filter: CandidateFilter | None = None,
    order: Order = "file",
    request_id: str | None = None,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[list[pb.Claim]]:
    """Return the call of `CorrectionsClient.claim`."""
    request = sendable(pb.ClaimRequest)(
        reviewer=reviewer,
        limit=limit,
        lease_seconds=lease_seconds,
        filter=filter.message() if filter else None,
        order=number("order", order, ORDERS),
        request_id=request_id or new_request_id(),
    )
    return Call("Claim", request, timeout_of("Claim", timeout), _claims, metadata, request.request_id)


def renew_claims(
    lease_ids: Iterable[str], *, lease_seconds: int = 0, timeout: float | None = None, metadata: Metadata = ()
) -> Call[pb.RenewClaimsResponse]:
    """Return the call of `CorrectionsClient.renew_claims`."""
    request = sendable(pb.RenewClaimsRequest)(lease_ids=list(lease_ids), lease_seconds=lease_seconds)
    return Call("RenewClaims", request, timeout_of("RenewClaims", timeout), whole, metadata)


def release_claims(
    lease_ids: Iterable[str], *, postpone_seconds: int = 0, timeout: float | None = None, metadata: Metadata = ()
) -> Call[pb.ReleaseClaimsResponse]:
    """Return the call of `CorrectionsClient.release_claims`."""
    request = sendable(pb.ReleaseClaimsRequest)(lease_ids=list(lease_ids), postpone_seconds=postpone_seconds)
    return Call("ReleaseClaims", request, timeout_of("ReleaseClaims", timeout), whole, metadata)


def create_snapshot(
    name: str,
    *,
    at_revision: int = 0,
    note: str = "",
    request_id: str | None = None,
    timeout: float | None = None,
    metadata: Metadata = (),
) -> Call[pb.Snapshot]:
    """Return the call of `CorrectionsClient.create_snapshot`."""
    request = sendable(pb.CreateSnapshotRequest)(
        name=name, at_revision=at_revision, note=note, request_id=request_id or new_request_id()
    )
    return Call(
        "CreateSnapshot", request, timeout_of("CreateSnapshot", timeout), _snapshot, metadata, request.request_id
    )


def get_snapshot(name: str, *, timeout: float | None = None, metadata: Metadata = ()) -> Call[pb.Snapshot]:
    """Return the call of `CorrectionsClient.get_snapshot`."""
    request = sendable(pb.GetSnapshotRequest)(name=name)
    return Call("GetSnapshot", request, timeout_of("GetSnapshot", timeout), _snapshot, metadata)


def list_snapshots(
    *, page_size: int = 0, page_token: str = "", timeout: float | None = None, metadata: Metadata = ()
) -> Call[pb.ListSnapshotsResponse]:
    """Return the call of `CorrectionsClient.list_snapshots`."""
    request = sendable(pb.ListSnapshotsRequest)(page_size=page_size, page_token=page_token)
    return Call("ListSnapshots", request, timeout_of("ListSnapshots", timeout), whole, metadata)


def delete_snapshot(name: str, *, timeout: float | None = None, metadata: Metadata = ()) -> Call[None]:
    """Return the call of `CorrectionsClient.delete_snapshot`."""
    request = sendable(pb.DeleteSnapshotRequest)(name=name)
    return Call("DeleteSnapshot", request, timeout_of("DeleteSnapshot", timeout), _nothing, metadata)


def _claims(response: Any) -> list[pb.Claim]:
    return list(response.claims)


def _snapshot(response: Any) -> pb.Snapshot:
    snapshot: pb.Snapshot = response.snapshot
    return snapshot


def _nothing(response: Any) -> None:
    return None
