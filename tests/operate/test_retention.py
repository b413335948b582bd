"""What is old is pruned while the server serves, and a request for it says so."""

from __future__ import annotations

import urllib.request

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, failure_of, record, write_records

SECOND = 1 / 86_400


def test_old_history_is_pruned_in_the_background_and_counted(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record("a"), record("b")])
    server.environment |= {
        "AVOCET_KEEP_HISTORY": str(2 * SECOND),
        "AVOCET_KEEP_REVISIONS": "0",
        "AVOCET_METRICS_LISTEN": "127.0.0.1:0",
    }
    server.start()
    first = server.correct("a")
    server.stub.Undo(pb.UndoRequest(id="a"))

    def history() -> list[pb.Change]:
        return list(server.stub.ListHistory(pb.ListHistoryRequest()).changes)

    assert len(history()) == 2
    # The newest change always stays.
    eventually(lambda: len(history()) == 1, within=30)
    for call in (
        lambda: server.stub.ListHistory(pb.ListHistoryRequest(since_revision=first.revision - 1)),
        lambda: next(server.stub.Watch(pb.WatchRequest(since_revision=first.revision - 1))),
    ):
        assert failure_of(call).reason == "REVISION_EXPIRED"
    address = next(line.split()[-1] for line in server.log.splitlines() if "metrics on http" in line)
    metrics = urllib.request.urlopen(address, timeout=60).read().decode()
    assert "avocet_pruned_rows_total 1.0" in metrics
    assert server.stats().total == 2
