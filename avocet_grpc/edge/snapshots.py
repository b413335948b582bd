"""Snapshots as wire messages, and the requests about them as core nouns."""

from __future__ import annotations

from datetime import datetime

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.ports.snapshots import Snapshot
from avocet_grpc.core.snapshots import SnapshotRequest
from avocet_grpc.edge import checks
from avocet_grpc.edge.call_context import principal
from avocet_grpc.edge.parse import snapshot_name

SNAPSHOTS_PAGE = 50


def snapshot_request(request: pb.CreateSnapshotRequest) -> SnapshotRequest:
    """Return the revision to name."""
    checks.not_negative("at_revision", request.at_revision)
    checks.at_most("note", request.note, checks.MAX_STRING)
    return SnapshotRequest(
        name=snapshot_name("name", request.name),
        at_revision=request.at_revision,
        note=request.note,
        request_id=checks.request_id(request.request_id),
        principal=principal(),
    )


def snapshot_message(snapshot: Snapshot) -> pb.Snapshot:
    """Return a revision with its name."""
    message = pb.Snapshot(
        name=snapshot.name,
        revision=snapshot.revision,
        note=snapshot.note,
        created_by=snapshot.created_by,
        example_count=snapshot.example_count,
    )
    message.created_at.FromDatetime(datetime.fromisoformat(snapshot.created_at))
    return message
