"""Snapshots: a revision with a name is exported the same each time, until its name is deleted."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, record, write_records


@pytest.fixture
def server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(20)])
    return stopped_server.start()


def create(server: Server, name: str, **fields: Any) -> pb.Snapshot:
    return server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name=name, **fields)).snapshot


def sent(server: Server, **fields: Any) -> list[bytes]:
    """The responses of an export, without their tokens."""
    responses = []
    for response in server.stub.StreamExport(pb.StreamExportRequest(**fields)):
        response.ClearField("resume_token")
        responses.append(response.SerializeToString(deterministic=True))
    return responses


def names(server: Server, page_size: int = 0) -> list[str]:
    found, token = list[str](), ""
    while True:
        page = server.stub.ListSnapshots(pb.ListSnapshotsRequest(page_size=page_size, page_token=token))
        found += [snapshot.name for snapshot in page.snapshots]
        if not (token := page.next_page_token):
            return found


def test_a_snapshot_is_exported_byte_for_byte_the_same_after_undos_approvals_and_a_restart(server: Server) -> None:
    for n in range(10):
        server.correct(f"c{n}")
    made = create(server, "v1.0", note="for the first run")
    assert (made.name, made.note, made.created_by, made.example_count) == ("v1.0", "for the first run", "", 10)
    assert made.revision == server.stats().revision
    before = sent(server, snapshot="v1.0", batch_size=3)
    for n in range(5):
        server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
        server.correct(f"c{n}", "another")
        server.correct(f"c{n + 10}")
    assert sent(server, snapshot="v1.0", batch_size=3) == before
    server.stop()
    server.start()
    assert sent(server, snapshot="v1.0", batch_size=3) == before
    assert server.stub.GetSnapshot(pb.GetSnapshotRequest(name="v1.0")).snapshot == made
    shards = [sent(server, snapshot="v1.0", shard_index=n, shard_count=2) for n in range(2)]
    counts = [pb.StreamExportResponse.FromString(shard[-1]).summary.example_count for shard in shards]
    assert sum(counts) == 10


def test_a_snapshot_of_an_earlier_revision_has_what_was_approved_then(server: Server) -> None:
    server.correct("c0")
    then = server.stats().revision
    server.correct("c1")
    assert create(server, "then", at_revision=then).example_count == 1
    ids = [e.id for r in server.stub.StreamExport(pb.StreamExportRequest(snapshot="then")) for e in r.examples]
    assert ids == ["c0"]


def test_an_export_of_a_snapshot_goes_on_with_its_token_also_once_the_name_is_gone(server: Server) -> None:
    for n in range(4):
        server.correct(f"c{n}")
    create(server, "a")
    call = server.stub.StreamExport(pb.StreamExportRequest(snapshot="a", batch_size=1))
    token = next(call).resume_token
    call.cancel()
    server.stub.DeleteSnapshot(pb.DeleteSnapshotRequest(name="a"))
    rest = server.stub.StreamExport(pb.StreamExportRequest(snapshot="a", resume_token=token))
    assert [example.id for response in rest for example in response.examples] == ["c1", "c2", "c3"]
    other = pb.StreamExportRequest(snapshot="b", resume_token=token)
    assert failure_of(lambda: list(server.stub.StreamExport(other))).fields == ["resume_token"]


def test_names_are_unique_until_they_are_deleted(server: Server) -> None:
    first = create(server, "a")
    server.correct("c0")
    failure = failure_of(lambda: create(server, "a"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SNAPSHOT_EXISTS")
    assert failure.metadata == {"snapshot": "a", "revision": str(first.revision)} and failure.resource == "a"
    server.stub.DeleteSnapshot(pb.DeleteSnapshotRequest(name="a"))
    for call in (
        lambda: server.stub.GetSnapshot(pb.GetSnapshotRequest(name="a")),
        lambda: server.stub.DeleteSnapshot(pb.DeleteSnapshotRequest(name="a")),
        lambda: list(server.stub.StreamExport(pb.StreamExportRequest(snapshot="a"))),
    ):
        failure = failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND")
        assert failure.metadata == {"snapshot": "a"} and failure.resource == "a"
    assert create(server, "a").revision == first.revision + 1


@pytest.mark.parametrize("page_size", [1, 2, 0])
def test_snapshots_are_listed_newest_first(server: Server, page_size: int) -> None:
    for name in ("a", "b", "c", "d"):
        create(server, name)
    server.stub.DeleteSnapshot(pb.DeleteSnapshotRequest(name="b"))
    assert names(server, page_size) == ["d", "c", "a"]


def test_a_request_id_gives_the_first_answer(server: Server) -> None:
    first = create(server, "a", request_id="r")
    server.correct("c0")
    assert create(server, "a", request_id="r") == first
    assert failure_of(lambda: create(server, "b", request_id="r")).fields == ["request_id"]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("CreateSnapshot", pb.CreateSnapshotRequest(), "name"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="A"), "name"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="-a"), "name"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="a\n"), "name"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="a" * 101), "name"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="a", note="x" * 1_001), "note"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="a", at_revision=-1), "at_revision"),
        ("CreateSnapshot", pb.CreateSnapshotRequest(name="a", at_revision=2**62), "at_revision"),
        ("GetSnapshot", pb.GetSnapshotRequest(name="/"), "name"),
        ("DeleteSnapshot", pb.DeleteSnapshotRequest(), "name"),
        ("ListSnapshots", pb.ListSnapshotsRequest(page_size=-1), "page_size"),
        ("ListSnapshots", pb.ListSnapshotsRequest(page_token="x"), "page_token"),
    ],
)
def test_what_no_snapshot_can_be_is_refused_by_its_field(
    quiet_server: Server, method: str, request_: Any, field: str
) -> None:
    failure = failure_of(lambda: getattr(quiet_server.stub, method)(request_))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]


def test_a_snapshot_together_with_a_revision_is_refused(quiet_server: Server) -> None:
    request = pb.StreamExportRequest(snapshot="a", at_revision=1)
    assert failure_of(lambda: list(quiet_server.stub.StreamExport(request))).fields == ["snapshot"]


def test_a_revision_of_an_earlier_ledger_is_expired(quiet_server: Server) -> None:
    assert failure_of(lambda: create(quiet_server, "a", at_revision=5)).reason == "REVISION_EXPIRED"
