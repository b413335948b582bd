"""A large import holds nobody up: others decide, list and watch while it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import TEAM_FULL, Server, eventually, record, write_records

COUNT = 100_000 if TEAM_FULL else 10_000
ROUNDS = 20 if TEAM_FULL else 3
"""So often at least others decide, see their decision and list, from the first record of the import to its last."""


def parts(count: int) -> Iterator[pb.UploadRunRequest]:
    yield pb.UploadRunRequest(run_id="large")
    for first in range(0, count, 1_000):
        lines = "".join(json.dumps(record(f"i{n}")) + "\n" for n in range(first, first + 1_000))
        yield pb.UploadRunRequest(lines=lines.encode())


@pytest.mark.timeout(900 if TEAM_FULL else 120)
def test_others_decide_list_and_watch_while_a_large_run_is_imported(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}") for n in range(2)])
    server.start()
    flags = server.stub.Watch(pb.WatchRequest(actions=[pb.CHANGE_ACTION_FLAG]))
    everything = server.stub.Watch(pb.WatchRequest(since_revision=next(flags).revision))
    importing = server.stub.UploadRun.future(parts(COUNT))
    eventually(lambda: server.stats().total > 2)
    rounds, slowest = 0, 0.0
    while not importing.done():
        began = time.monotonic()
        decided = server.stub.Submit(pb.SubmitRequest(id="c0", action=pb.ACTION_FLAG)).candidate
        seen = next(response for response in flags if response.changes).changes
        assert [change.revision for change in seen] == [decided.revision]
        assert server.stub.Queue(pb.QueueRequest(per_page=20)).items[0].id == "c1"
        server.stub.Undo(pb.UndoRequest(id="c0"))
        slowest = max(slowest, time.monotonic() - began)
        rounds += server.stats().total < COUNT + 2
    print(f"{COUNT:,} imported; meanwhile {rounds} rounds of others' calls, the slowest took {slowest:.3f} s")
    assert importing.result().imported == COUNT
    assert rounds >= ROUNDS
    imported = 0
    for response in everything:
        imported += sum(change.action == pb.CHANGE_ACTION_IMPORT for change in response.changes)
        if imported == COUNT:
            break
    everything.cancel()
    flags.cancel()
