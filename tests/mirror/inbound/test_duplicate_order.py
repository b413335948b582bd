"""Which of several lines of one id counts goes by their order in the file, also once another program changes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, records, write_records


def rewrite(path: Path, contents: list) -> None:
    temporary = path.with_suffix(".tmp")
    write_records(temporary, contents)
    temporary.replace(path)


def response_of(server: Server, id: str) -> str:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate.model_response


def test_two_candidate_lines_that_change_places_are_an_edit(stopped_server: Server) -> None:
    path = stopped_server.candidates
    contents = [record("a"), record("d", model_response="one"), record("d", model_response="two"), record("z")]
    write_records(path, contents)
    server = stopped_server.start()
    assert response_of(server, "d") == "one"
    before = server.stats().revision
    rewrite(path, [contents[0], contents[2], contents[1], contents[3]])
    eventually(lambda: response_of(server, "d") == "two")
    assert server.stats().revision > before
    assert server.stop() == 0
    assert [one["model_response"] for one in records(path) if one["id"] == "d"] == ["two", "one"]


def test_two_approved_lines_that_change_places_are_an_edit(stopped_server: Server) -> None:
    path = stopped_server.approved
    contents = [record("d", status="approved", corrected_response=text) for text in ("one", "two")]
    write_records(path, [*contents, record("z", status="approved", corrected_response="z")])
    server = stopped_server.start()

    def exported() -> dict[str, str]:
        responses = server.stub.StreamExport(pb.StreamExportRequest())
        return {one.id: one.messages[-1].content for response in responses for one in response.examples}

    assert exported() == {"d": "two", "z": "z"}
    rewrite(path, [contents[1], contents[0], record("z", status="approved", corrected_response="z")])
    eventually(lambda: exported() == {"d": "one", "z": "z"})
    assert server.stats().export_ready == 2


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", ".avocet deleted"])
def test_lines_that_change_places_while_the_service_is_stopped_count_as_they_stand(
    stopped_server: Server, keeps: bool
) -> None:
    server, path = stopped_server, stopped_server.candidates
    write_records(path, [record("d", model_response="one"), record("z")])
    server.start().correct("d", "decided")
    with path.open("a") as file:
        file.write(json.dumps(record("d", model_response="two")) + "\n")
    eventually(lambda: server.stats().duplicate_ids == 1)
    assert server.stop() == 0
    first, *others = records(path)
    assert (first["id"], first["status"]) == ("d", "approved")
    write_records(path, [*reversed(others), first])
    if not keeps:
        shutil.rmtree(server.data / ".avocet")
    found = server.start().stub.GetCandidate(pb.GetCandidateRequest(id="d")).candidate
    assert (found.model_response, found.status) == ("two", pb.CANDIDATE_STATUS_NEEDS_REVIEW)
    assert server.stop() == 0
    assert [one["model_response"] for one in records(path) if one["id"] == "d"] == ["two", "one"]


def test_a_decision_on_the_first_of_two_lines_outlives_a_rewrite_that_moves_others(stopped_server: Server) -> None:
    path = stopped_server.candidates
    write_records(
        path, [record("a"), record("d", model_response="one"), record("d", model_response="two"), record("z")]
    )
    server = stopped_server.start()
    server.correct("d", "decided")
    eventually(lambda: b"decided" in path.read_bytes())
    rewrite(path, [one for one in records(path) if one["id"] != "a"] + [record("new")])
    eventually(lambda: "new" in {one["id"] for one in records(path)} and server.stats().total >= 3)
    candidate = server.stub.GetCandidate(pb.GetCandidateRequest(id="d")).candidate
    assert (candidate.model_response, candidate.status) == ("one", pb.CANDIDATE_STATUS_APPROVED)
    assert server.stop() == 0
    first = next(one for one in records(path) if one["id"] == "d")
    assert first["corrected_response"] == "decided"
