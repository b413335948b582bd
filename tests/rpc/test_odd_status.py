"""Status words that UTF-8 cannot carry: they are kept and counted, and hold nothing up."""

from __future__ import annotations

import json
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, lines, record, records, write_records

ODD = "appr\ud800oved"
SHOWN = "appr\ufffdoved"


def append(server: Server, *added: Any) -> None:
    with server.candidates.open("a") as file:
        file.write("".join(json.dumps(one) + "\n" for one in added))


def ids(server: Server) -> set[str]:
    answer = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=500))
    return {one.id for one in answer.items}


def test_a_foreign_line_with_such_a_status_and_those_behind_it_are_taken_in(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c")])
    server.start()
    append(server, record("a", status=ODD), record("b"))
    eventually(lambda: {"a", "b", "c"} <= ids(server))
    assert server.stats().by_status[SHOWN] == 1
    server.correct("b")
    eventually(lambda: [one["id"] for one in records(server.approved)] == ["b"])
    assert server.stop() == 0
    server.start()
    assert {"a", "b", "c"} <= ids(server)
    assert json.dumps(ODD).encode() in server.candidates.read_bytes()


def test_another_program_may_change_a_record_to_such_a_status_and_back(stopped_server: Server) -> None:
    server = stopped_server
    before = [record(id, timestamp="2025-03-01T12:00:00+00:00") for id in "abc"]
    write_records(server.candidates, before)
    server.start()
    write_records(server.candidates, [{**before[0], "status": ODD}, *before[1:]])
    eventually(lambda: server.stats().by_status.get(SHOWN) == 1)
    write_records(server.candidates, [{**before[0], "label": "repaired"}, *before[1:]])
    eventually(lambda: server.stats().by_status["needs_review"] == 3)
    found = server.stub.ListHistory(pb.ListHistoryRequest(id="a")).changes
    assert [(one.status_before, one.status_after) for one in found][:2] == [
        (SHOWN, "needs_review"),
        ("needs_review", SHOWN),
    ]
    assert len(lines(server.candidates)) == 3


def test_an_undo_of_such_a_status_puts_the_record_back_in_review(server: Server) -> None:
    write_records(server.candidates, [*records(server.candidates), record("odd", status=ODD)])
    eventually(lambda: "odd" in ids(server))
    undone = server.stub.Undo(pb.UndoRequest(id="odd"))
    assert undone.candidate.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    assert server.correct("odd").status == pb.CANDIDATE_STATUS_APPROVED
