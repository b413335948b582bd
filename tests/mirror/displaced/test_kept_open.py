"""If somebody keeps the file open, no lease can be taken: it is replaced, and late writers lose nothing."""

from __future__ import annotations

import json
import os
import shutil

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
        eventually(lambda: {one["id"]: one for one in records(path)}["c3"]["corrected_response"] == "better")
        assert os.stat(path).st_ino != inode
        assert os.stat(path).st_mode & 0o777 == 0o640
        held.write(json.dumps(record("late")) + "\n")
    eventually(lambda: server.stub.Stats(pb.StatsRequest()).total == 21)
    eventually(lambda: sorted(one["id"] for one in records(path)) == sorted([f"c{n}" for n in range(20)] + ["late"]))
    assert server.stop() == 0
    assert [one["id"] for one in records(path)] == [*(f"c{n}" for n in range(20)), "late"]
    assert not list(path.parent.glob(".*.displaced"))


def test_a_stop_does_not_wait_for_a_program_that_holds_the_old_file_and_loses_nothing_of_it(
    stopped_server: Server,
) -> None:
    path = stopped_server.candidates
    write_records(path, [record(f"c{n}") for n in range(20)])
    server = stopped_server.start()
    inode = os.stat(path).st_ino
    with open(path, "a") as held:
        server.correct("c3", "better")
        eventually(lambda: os.stat(path).st_ino != inode)
        assert server.stop() == 0
        held.write(json.dumps(record("late")) + "\n")
    shutil.rmtree(server.data / ".avocet")
    server.start()
    eventually(lambda: sorted(one["id"] for one in records(path)) == sorted([f"c{n}" for n in range(20)] + ["late"]))
    assert {one["id"]: one for one in records(path)}["c3"]["corrected_response"] == "better"


def test_a_second_line_of_an_id_from_a_displaced_file_is_kept_and_is_no_edit(stopped_server: Server) -> None:
    path = stopped_server.candidates
    write_records(path, [record("a", model_response="first"), record("b")])
    server = stopped_server.start()
    inode = os.stat(path).st_ino
    with open(path, "a") as held:
        server.correct("b", "better")
        eventually(lambda: os.stat(path).st_ino != inode)
        held.write(json.dumps(record("a", model_response="second")) + "\n")
    eventually(lambda: server.stats().duplicate_ids == 1)
    assert server.stub.GetCandidate(pb.GetCandidateRequest(id="a")).candidate.model_response == "first"
