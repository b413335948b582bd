"""Where somebody keeps the file open no lease is to be had: it is swapped, and late writers lose nothing."""

from __future__ import annotations

import json
import os

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, records, write_records


def test_a_file_that_is_kept_open_is_swapped_and_a_late_line_is_saved(stopped_server: Server) -> None:
    path = stopped_server.candidates
    write_records(path, [record(f"c{n}") for n in range(20)])
    os.chmod(path, 0o640)
    server = stopped_server.start()
    inode = os.stat(path).st_ino
    with open(path, "a") as held:
        server.correct("c3", "better")
        eventually(lambda: {one["id"]: one for one in records(path)}["c3"]["corrected_response"] == "better", within=5)
        assert os.stat(path).st_ino != inode
        assert os.stat(path).st_mode & 0o777 == 0o640
        held.write(json.dumps(record("late")) + "\n")
    eventually(lambda: server.stub.Stats(pb.StatsRequest()).total == 21, within=5)
    eventually(lambda: sorted(one["id"] for one in records(path)) == sorted([f"c{n}" for n in range(20)] + ["late"]))
    assert server.stop() == 0
    assert [one["id"] for one in records(path)] == [*(f"c{n}" for n in range(20)), "late"]
    assert not list(path.parent.glob(".*.displaced"))
