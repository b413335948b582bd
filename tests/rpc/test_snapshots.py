"""Snapshots: a revision with a name is exported the same each time, until its name is deleted."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.layout import DataDirectory
from tests.support import BIN, TEAM_FULL, Server, eventually, failure_of, record, write_records

MANY = 1_000 if TEAM_FULL else 40
"""So many are undone, and so many more approved, behind a snapshot's back."""

pytestmark = pytest.mark.both_engines


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


@pytest.mark.files("a rebuild from the files, and what the ledger's file holds")
def test_a_snapshot_is_exported_the_same_through_pruning_and_after_a_rebuild_its_name_is_unknown(
    stopped_server: Server,
) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}") for n in range(2 * MANY)])
    server.environment = {"AVOCET_KEEP_HISTORY": "5", "AVOCET_KEEP_REVISIONS": "5"}
    server.start()
    correct_all(server, range(MANY), "first")
    made = create(server, "v1")
    whole = {"snapshot": "v1", "batch_size": 100}
    shard: dict[str, Any] = whole | {"shard_index": 1, "shard_count": 3}
    before = sent(server, **whole), sent(server, **shard)
    for n in range(MANY):
        server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
    correct_all(server, range(MANY, 2 * MANY), "second")
    for n in range(MANY, 2 * MANY, 2):
        server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
    assert (sent(server, **whole), sent(server, **shard)) == before
    assert server.stop() == 0
    server.start()
    assert (sent(server, **whole), sent(server, **shard)) == before
    changes = counted(server, "history")
    server.kill()
    make_older(server, days=30)
    # All that happened is older than what is kept, and than what a resume token may need.
    server.environment |= {"AVOCET_KEEP_HISTORY": str(2 / 86_400), "AVOCET_KEEP_REVISIONS": str(2 / 86_400)}
    server.start()
    server.stub.Submit(pb.SubmitRequest(id="c0", action=pb.ACTION_FLAG))
    eventually(lambda: counted(server, "history") < 3, within=120)
    eventually(lambda: counted(server, "examples WHERE removed_revision < 9223372036854775807") == MANY, within=120)
    print(f"{changes} changes and {MANY // 2} examples pruned, {MANY} examples kept for the snapshot")
    assert failure_of(lambda: sent(server, at_revision=made.revision - 1)).reason == "REVISION_EXPIRED"
    assert (sent(server, **whole), sent(server, **shard)) == before
    assert server.stop() == 0
    rebuild = [str(BIN / "avocet-grpc"), "rebuild", "--yes", "--data-dir", str(server.data)]
    told = subprocess.run(rebuild, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "1 snapshot: what was named cannot be exported again" in told
    server.start()
    assert failure_of(lambda: sent(server, **whole)).reason == "SNAPSHOT_NOT_FOUND"
    assert failure_of(lambda: create(server, "v1", at_revision=made.revision)).reason == "REVISION_EXPIRED"


def correct_all(server: Server, numbers: Iterable[int], text: str) -> None:
    decisions = [
        pb.SubmitRequest(id=f"c{n}", action=pb.ACTION_CORRECT, corrected_response=f"{text} {n}") for n in numbers
    ]
    for first in range(0, len(decisions), 500):
        server.stub.BatchSubmit(pb.BatchSubmitRequest(decisions=decisions[first : first + 500]))


def counted(server: Server, table: str) -> int:
    """How many rows of the ledger there are."""
    path = DataDirectory(server.data).ledger
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as ledger:
        (count,) = ledger.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def make_older(server: Server, days: int) -> None:
    """Let the ledger of a server that was killed believe that its revisions are so much older."""
    with contextlib.closing(sqlite3.connect(DataDirectory(server.data).ledger)) as ledger, ledger:
        now = time.time() - days * 86_400
        ledger.execute("DELETE FROM moments")
        ledger.execute("INSERT INTO moments SELECT ?, revision FROM head", (now,))


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


def test_a_token_of_a_snapshot_is_bound_to_it_whatever_its_name(server: Server) -> None:
    for n in range(4):
        server.correct(f"c{n}")
    name, prompts = "unique_prompts", pb.StreamExportRequest(unique_prompts=True, batch_size=1)
    create(server, name)
    call = server.stub.StreamExport(pb.StreamExportRequest(snapshot=name, batch_size=1))
    token = next(call).resume_token
    call.cancel()
    prompts.resume_token = token
    assert failure_of(lambda: list(server.stub.StreamExport(prompts))).fields == ["resume_token"]


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
