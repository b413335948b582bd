"""BatchSubmit decides each for itself, as single Submits would."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, failure_of_status, record, records, write_records

pytestmark = pytest.mark.both_engines


@pytest.fixture
def server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(9)])
    return stopped_server.start()


def batch(server: Server, decisions: list[pb.SubmitRequest], **fields: Any) -> list[pb.BatchSubmitResult]:
    return list(server.stub.BatchSubmit(pb.BatchSubmitRequest(decisions=decisions, **fields)).results)


def flag(id: str, **fields: Any) -> pb.SubmitRequest:
    return pb.SubmitRequest(id=id, action=pb.ACTION_FLAG, **fields)


def reasons(results: list[pb.BatchSubmitResult]) -> list[str]:
    return [failure_of_status(each.error).reason if each.HasField("error") else "" for each in results]


def mixed() -> list[pb.SubmitRequest]:
    return [
        pb.SubmitRequest(id="c0", action=pb.ACTION_CORRECT, corrected_response="better", reviewer="ann"),
        flag("nobody"),
        flag("c1", expected_revision=1),
        flag("c0"),
        pb.SubmitRequest(id="c2"),
        flag("c2", lease_id="x"),
        pb.SubmitRequest(id="c3", action=pb.ACTION_DISCARD, failure_category=pb.FAILURE_CATEGORY_HALLUCINATION),
    ]


MIXED = ["", "CANDIDATE_NOT_FOUND", "REVISION_MISMATCH", "NOT_IN_REVIEW", "INVALID_FIELD", "CLAIM_LOST", ""]


def test_each_decision_gets_what_a_single_submit_would_get_in_order(server: Server) -> None:
    before = server.stats().revision
    results = batch(server, mixed())
    assert reasons(results) == MIXED
    assert [each.candidate.revision for each in (results[0], results[6])] == [before + 1, before + 2]
    assert server.stats().revision == before + 2
    assert results[0].candidate == pb.Candidate(id="c0", status=pb.CANDIDATE_STATUS_APPROVED, revision=before + 1)
    assert failure_of_status(results[4].error).fields == ["action"]
    assert server.stub.GetCandidate(pb.GetCandidateRequest(id="c0")).candidate.reviewed_by == "ann"


def test_a_batch_leaves_the_same_records_as_single_submits(server: Server, tmp_path: Any) -> None:
    other = Server(tmp_path / "other")
    write_records(other.candidates, [record(f"c{n}") for n in range(9)])
    other.start()
    try:
        batch(server, mixed())
        for decision in mixed():
            try:
                other.stub.Submit(decision)
            except grpc.RpcError:
                continue
        found = [server.stub.ListCandidates(pb.ListCandidatesRequest()).items for server in (server, other)]
        for items in found:
            for item in items:
                item.ClearField("revision")
                item.ClearField("reviewed_at")
        assert list(found[0]) == list(found[1])
    finally:
        other.kill()


def test_a_batch_s_request_id_gives_the_first_answer_with_its_refusals_also_after_a_restart(server: Server) -> None:
    first = batch(server, mixed(), request_id="b")
    assert reasons(first) == MIXED
    assert batch(server, mixed(), request_id="b") == first
    server.stub.Undo(pb.UndoRequest(id="c0"))
    server.stop()
    server.start()
    assert batch(server, mixed(), request_id="b") == first
    assert (
        server.stub.GetCandidate(pb.GetCandidateRequest(id="c0")).candidate.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    )
    failure = failure_of(lambda: batch(server, mixed()[1:], request_id="b"))
    assert failure.reason == "INVALID_FIELD" and failure.fields == ["request_id"]


def test_a_batch_s_request_id_is_refused_with_another_decision_that_is_refused_for_its_field(server: Server) -> None:
    first = batch(server, [pb.SubmitRequest(id="c0")], request_id="b")
    assert reasons(first) == ["INVALID_FIELD"]
    assert batch(server, [pb.SubmitRequest(id="c0")], request_id="b") == first
    failure = failure_of(lambda: batch(server, [pb.SubmitRequest(id="c1")], request_id="b"))
    assert failure.reason == "INVALID_FIELD" and failure.fields == ["request_id"]


def test_500_decisions_are_taken_at_once_and_are_one_commit(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(500)])
    server = stopped_server.start()
    before = server.stats().revision
    results = batch(server, [flag(f"c{n}") for n in range(500)])
    assert [each.candidate.revision for each in results] == [before + n for n in range(1, 501)]
    assert server.stats().by_status == {"model_rejected": 500}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.BatchSubmitRequest(), "decisions"),
        (pb.BatchSubmitRequest(decisions=[flag("a")] * 501), "decisions"),
        (pb.BatchSubmitRequest(decisions=[flag("a"), flag("a", request_id="r")]), "decisions[1].request_id"),
        (pb.BatchSubmitRequest(decisions=[flag("a")], request_id="x" * 129), "request_id"),
    ],
)
def test_a_call_that_is_no_batch_is_refused_as_a_whole(quiet_server: Server, request_: Any, field: str) -> None:
    failure = failure_of(lambda: quiet_server.stub.BatchSubmit(request_))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]
    assert quiet_server.stub.GetCandidate(pb.GetCandidateRequest(id="a")).candidate.status == 1


@pytest.mark.files("what reaches the files")
def test_what_a_batch_approves_reaches_the_files_and_the_export(server: Server) -> None:
    batch(server, mixed())
    sent = [example.id for each in server.stub.StreamExport(pb.StreamExportRequest()) for example in each.examples]
    assert sent == ["c0"]
    server.stop()
    assert [line["id"] for line in records(server.approved)] == ["c0"]
