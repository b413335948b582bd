"""The responses of a watch: on the real server and on the in-memory service."""

from __future__ import annotations

from pathlib import Path

import pytest

from avocet_client.testing import Service
from avocet_client.testing.channel import Channel
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1.corrections_pb2_grpc import CorrectionsServiceStub
from tests.support import Server, record, write_records


@pytest.mark.parametrize("kind", ["server", "memory"])
def test_a_watch_of_what_stands_still_has_heartbeats(kind: str, tmp_path: Path) -> None:
    server = Server(tmp_path)
    if kind == "server":
        write_records(server.candidates, [record("a")])
        stub = server.start().stub
    else:
        stub = CorrectionsServiceStub(Channel(Service([record("a")])))
    watch = stub.Watch(pb.WatchRequest(heartbeat_seconds=1, actions=[pb.CHANGE_ACTION_UNDO]), timeout=20)
    first = next(watch)
    stub.Submit(pb.SubmitRequest(id="a", action=pb.ACTION_FLAG))
    while (beat := next(watch)).revision == first.revision:
        assert not beat.changes
    assert (list(beat.changes), beat.revision) == ([], stub.Stats(pb.StatsRequest()).revision)
    later = next(watch)
    assert (list(later.changes), later.revision, bool(later.resume_token)) == ([], beat.revision, True)
    watch.cancel()
    server.kill()
