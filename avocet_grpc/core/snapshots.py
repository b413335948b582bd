"""Snapshots: a revision gets a name, so that a training run can say what it was trained on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from avocet_grpc.core import idempotency
from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.errors import SnapshotExists, SnapshotNotFound
from avocet_grpc.core.ports.snapshots import Snapshot
from avocet_grpc.core.ports.team import TeamReader, TeamTransaction
from avocet_grpc.core.revisions import check_named
from avocet_grpc.core.tokens import decode_token, encode_token, is_count

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """A request to name a revision; `at_revision` 0 is the newest. `principal` is the name of the caller's token."""

    name: str
    at_revision: int = 0
    note: str = ""
    request_id: str = ""
    principal: str = ""


def create_snapshot(tx: TeamTransaction, request: SnapshotRequest) -> Snapshot:
    """Name a revision, and keep what its export needs.

    Raises SnapshotExists, InvalidField for a revision to come or a request_id of other content, RevisionExpired.
    """
    digest = idempotency.digest("CreateSnapshot", request)
    if (answer := idempotency.recall(tx, request, digest)) is not None:
        return Snapshot(**answer)
    if (taken := tx.snapshots.find(request.name)) is not None:
        raise SnapshotExists(taken.name, taken.revision)
    revision = request.at_revision or tx.revision()
    check_named(tx, "at_revision", revision, 0 if tx.snapshots.pins(revision) else tx.first_revision())
    count = tx.examples.count_at(revision)
    snapshot = Snapshot(request.name, revision, request.note, request.principal, now_iso(), count)
    tx.snapshots.add(snapshot)
    idempotency.keep(tx, request, digest, asdict(snapshot))
    return snapshot


def get_snapshot(reader: TeamReader, name: str) -> Snapshot:
    """Return the snapshot of this name. Raises SnapshotNotFound."""
    snapshot = reader.snapshots.find(name)
    if snapshot is None:
        raise SnapshotNotFound(name)
    return snapshot


def delete_snapshot(tx: TeamTransaction, name: str) -> None:
    """Free the name. Exports of it that have begun may be continued for 7 days. Raises SnapshotNotFound."""
    get_snapshot(tx, name)
    tx.snapshots.remove(name)


def snapshots_page(reader: TeamReader, page_size: int, page_token: str) -> tuple[list[Snapshot], str]:
    """Return one page of snapshots, newest first, and the token of the next (empty at the end)."""
    before = decode_token("snapshots", "", page_token, "page_token", is_count) if page_token else None
    found = reader.snapshots.page(before, page_size + 1)
    page = found[:page_size]
    return page, encode_token("snapshots", "", page[-1].number) if len(found) > page_size else ""
