"""What each decision writes, on the wire and for a plain reader of both files."""

from __future__ import annotations

import json

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, bearer, eventually, failure_of, lines, record, records, write_records

pytestmark = pytest.mark.both_engines

UNKNOWN_KEYS = {"product_id": 17, "elapsed_ms": 12.5, "nested": {"b": 1, "a": [None, True]}}
MALFORMED = [b'{"id": "torn', b"[1, 2]", b'{"status": "needs_review"}', b'{"id": 5}', b"\xff\xfe not text"]


def shared(server: Server, id: str) -> dict:
    """The record of this id in the candidates file, as a plain reader sees it."""
    return next(r for r in records(server.candidates) if r["id"] == id)


@pytest.fixture
def one(stopped_server: Server) -> Server:
    """A running server with the candidate `a`, which has keys that the service does not know."""
    write_records(stopped_server.candidates, [record("a") | UNKNOWN_KEYS])
    return stopped_server.start()


@pytest.mark.files("what is written into the files")
def test_a_correction_is_written_into_both_files_with_keys_in_place(one: Server) -> None:
    before = record("a") | UNKNOWN_KEYS
    after = one.stub.Submit(
        pb.SubmitRequest(
            id="a",
            action=pb.ACTION_CORRECT,
            corrected_response="Rayleigh\u2028scattering",
            failure_category=pb.FAILURE_CATEGORY_WRONG_ANSWER,
            reviewer="kim",
        )
    ).candidate
    assert after.status == pb.CANDIDATE_STATUS_APPROVED
    assert after.corrected_response == "Rayleigh\u2028scattering"
    assert after.failure_category == pb.FAILURE_CATEGORY_WRONG_ANSWER
    assert after.reviewed_by == "kim"
    assert after.reviewed_at
    assert json.loads(after.extra_json) == UNKNOWN_KEYS

    eventually(lambda: records(one.approved))
    eventually(lambda: shared(one, "a")["status"] == "approved")
    for path in (one.candidates, one.approved):
        (seen,) = records(path)
        assert list(seen) == [*before, "failure_category", "reviewed_at", "reviewed_by"]
        expected = before | {
            "status": "approved",
            "corrected_response": "Rayleigh\u2028scattering",
            "failure_category": "wrong_answer",
            "reviewed_at": seen["reviewed_at"],
            "reviewed_by": "kim",
        }
        assert seen == expected
        assert path.read_bytes().isascii()


@pytest.mark.files("what is written into the files")
def test_a_correction_without_category_and_reviewer_writes_null_and_no_reviewer(one: Server) -> None:
    one.correct("a")
    seen = eventually(lambda: (records(one.approved) or [None])[0])
    assert seen["failure_category"] is None
    assert "reviewed_by" not in seen
    assert one.stub.GetCandidate(pb.GetCandidateRequest(id="a")).candidate.failure_category == 0


@pytest.mark.files("what is written into the files")
@pytest.mark.parametrize(
    ("action", "word", "status"),
    [
        (pb.ACTION_DISCARD, "discarded", pb.CANDIDATE_STATUS_DISCARDED),
        (pb.ACTION_FLAG, "model_rejected", pb.CANDIDATE_STATUS_MODEL_REJECTED),
    ],
)
def test_discard_and_flag_set_the_status_and_approve_nothing(one: Server, action, word, status) -> None:
    after = one.stub.Submit(pb.SubmitRequest(id="a", action=action, reviewer="kim")).candidate
    assert after.status == status
    eventually(lambda: shared(one, "a")["status"] == word)
    seen = shared(one, "a")
    added = {"status": word, "reviewed_at": seen["reviewed_at"], "reviewed_by": "kim"}
    assert seen == record("a") | UNKNOWN_KEYS | added
    assert lines(one.approved) == []


@pytest.mark.files("what is written into the files")
def test_a_flag_with_a_category_writes_it(one: Server) -> None:
    category = pb.FAILURE_CATEGORY_HALLUCINATION
    one.stub.Submit(pb.SubmitRequest(id="a", action=pb.ACTION_FLAG, failure_category=category))
    eventually(lambda: shared(one, "a").get("failure_category") == "hallucination")


@pytest.mark.files("what is written into the files")
def test_undo_puts_the_record_back_as_it_was_and_takes_it_out_of_the_approved_file(one: Server) -> None:
    one.correct("a", failure_category=pb.FAILURE_CATEGORY_STYLE_VIOLATION, reviewer="kim")
    eventually(lambda: records(one.approved))
    after = one.stub.Undo(pb.UndoRequest(id="a", reviewer="lee")).candidate
    assert after.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    assert not after.HasField("corrected_response")
    eventually(lambda: records(one.approved) == [])
    eventually(lambda: shared(one, "a") == record("a") | UNKNOWN_KEYS)
    assert list(shared(one, "a")) == list(record("a") | UNKNOWN_KEYS)


@pytest.mark.files("what is written into the files")
def test_undo_of_another_programs_decision_goes_back_to_review_with_nulls(stopped_server: Server) -> None:
    decided = record("a", status="approved", corrected_response="theirs", failure_category="wrong_answer")
    write_records(stopped_server.candidates, [decided])
    write_records(stopped_server.approved, [decided, decided])
    server = stopped_server.start()
    server.stub.Undo(pb.UndoRequest(id="a"))
    expected = decided | {"status": "needs_review", "corrected_response": None, "failure_category": None}
    eventually(lambda: records(server.candidates) == [expected])
    eventually(lambda: records(server.approved) == [])


@pytest.mark.files("what is written into the files")
def test_a_correction_takes_the_place_of_a_line_of_that_id_in_the_approved_file(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record("a"), record("b")])
    write_records(stopped_server.approved, [record("a", status="approved", corrected_response="old")])
    server = stopped_server.start()
    server.correct("a", "new")
    eventually(lambda: [r["corrected_response"] for r in records(server.approved)] == ["new"])


@pytest.mark.files("what is written into the files")
def test_ingest_writes_a_new_approved_record_into_both_files(server: Server) -> None:
    answer = server.ingest(
        pb.IngestRequest(source="peregrine", task_type="code", prompt="p", response="", correction="c", label="gold")
    )
    assert answer.created
    (seen,) = eventually(lambda: records(server.approved) or None)
    eventually(lambda: records(server.candidates) == [seen])
    assert seen == {
        "id": answer.id,
        "source": "peregrine",
        "task_type": "code",
        "status": "approved",
        "prompt_messages": [{"role": "user", "content": "p"}],
        "model_response": "",
        "corrected_response": "c",
        "label": "gold",
        "timestamp": seen["timestamp"],
        "benchmark_run_id": None,
    }
    server.stub.Ingest(pb.IngestRequest(source="kiwi", task_type="code", prompt="p", correction="c"), metadata=bearer())
    eventually(lambda: [(r["source"], r["label"]) for r in records(server.approved)[1:]] == [("kiwi", None)])


@pytest.mark.files("what is written into the files")
def test_what_is_not_changed_keeps_its_bytes(stopped_server: Server) -> None:
    odd = b'{ "id":"odd",  "status":"pending", "x":NaN, "n":12345678901234567890123, "s":"\\ud800", "x":Infinity}\r'
    first = json.dumps(record("twice", task_name="first")).encode()
    second = json.dumps(record("twice", task_name="second")).encode()
    decided = json.dumps(record("a")).encode()
    kept = [*MALFORMED, odd, first, second]
    stopped_server.candidates.write_bytes(b"\n\n".join([*MALFORMED, odd, decided, first, second]) + b"\n")
    server = stopped_server.start()
    stats = server.stats()
    assert (stats.malformed, stats.duplicate_ids, stats.total) == (len(MALFORMED), 1, 3)
    assert stats.by_status["pending"] == 1
    assert list(queue_of(server)) == [("a", "Blue sky"), ("twice", "first")]
    extra = server.stub.GetCandidate(pb.GetCandidateRequest(id="odd")).candidate.extra_json
    assert json.loads(extra)["n"] == 12345678901234567890123
    assert "Infinity" in extra and "pending" in extra

    server.correct("a")
    eventually(lambda: b'"approved"' in server.candidates.read_bytes())
    assert [line for line in lines(server.candidates) if b'"approved"' not in line] == kept
    assert server.stop() == 0
    assert [line for line in lines(server.candidates) if b'"approved"' not in line] == kept


def queue_of(server: Server) -> list[tuple[str, str]]:
    return [(item.id, item.task_name) for item in server.stub.Queue(pb.QueueRequest()).items]


def test_a_decision_on_what_is_not_in_review_tells_its_status(one: Server) -> None:
    one.correct("a")
    failure = failure_of(lambda: one.correct("a"))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_IN_REVIEW")
    assert failure.metadata == {"current_status": "approved"}
    one.stub.Undo(pb.UndoRequest(id="a"))
    failure = failure_of(lambda: one.stub.Undo(pb.UndoRequest(id="a")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_IN_REVIEW")


def test_a_candidate_that_is_not_there_is_not_found(one: Server) -> None:
    for call in (
        lambda: one.correct("none"),
        lambda: one.stub.Undo(pb.UndoRequest(id="none")),
        lambda: one.stub.GetCandidate(pb.GetCandidateRequest(id="none")),
    ):
        failure = failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CANDIDATE_NOT_FOUND")
        assert failure.resource == "none"
        assert failure.domain == "avocet.corrections.v1"


def test_an_expected_revision_refuses_a_candidate_that_has_changed(one: Server) -> None:
    seen = one.stub.GetCandidate(pb.GetCandidateRequest(id="a")).candidate.revision
    failure = failure_of(lambda: one.correct("a", expected_revision=seen - 1))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "REVISION_MISMATCH")
    assert failure.metadata == {"current_revision": str(seen)}
    assert one.correct("a", expected_revision=seen).revision > seen


def test_a_decision_repeated_with_its_request_id_gets_the_first_answer_also_after_a_restart(one: Server) -> None:
    first = one.correct("a", request_id="r1")
    one.stub.Undo(pb.UndoRequest(id="a", request_id="r2"))
    assert one.correct("a", request_id="r1") == first
    one.kill()
    one.start()
    assert one.correct("a", request_id="r1") == first
    failure = failure_of(lambda: one.correct("a", "other", request_id="r1"))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
    failure = failure_of(lambda: one.stub.Undo(pb.UndoRequest(id="a", request_id="r1")))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])


def test_an_acknowledged_decision_survives_a_killed_server(one: Server) -> None:
    one.correct("a", "kept")
    one.kill()
    one.start()
    assert one.stub.GetCandidate(pb.GetCandidateRequest(id="a")).candidate.corrected_response == "kept"
    if one.has_files:
        eventually(lambda: [r["corrected_response"] for r in records(one.approved)] == ["kept"])
