"""An edit of the same length that an append in the same moment hides is noticed once the file is quiet."""

from __future__ import annotations

import json

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, records, write_records

COUNT = 2_000
QUIET_S = 10


def test_an_edit_that_a_growth_hides_is_served_once_the_file_is_quiet(stopped_server: Server) -> None:
    path = stopped_server.candidates
    write_records(path, [record(f"c{n:04d}", task_name="before", model_response="x" * 500) for n in range(COUNT)])
    server = stopped_server.start()
    server.correct("c0007")
    eventually(lambda: {one["id"]: one for one in records(path)}["c0007"]["status"] == "approved")

    def name_of(id: str) -> str:
        return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate.task_name

    with path.open("r+b") as file:
        at = file.read().index(b"before", path.stat().st_size // 2)
        file.seek(at)
        file.write(b"edited")
        file.seek(0, 2)
        file.write(json.dumps(record("new")).encode() + b"\n")
    eventually(lambda: server.stats().total == COUNT + 1, within=3)
    edited = [one["id"] for one in records(path) if one.get("task_name") == "edited"]
    assert len(edited) == 1
    assert name_of(edited[0]) == "before"
    eventually(lambda: name_of(edited[0]) == "edited", within=QUIET_S + 5)
