"""Decisions, claims, history, watch: one suite on the real server and the in-memory service, with both clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

import avocet_client
import avocet_client.errors
from avocet_client import Correction, Decision, status_word
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.conftest import Start
from tests.support import record

FIELDS: dict[str, Any] = {"source": "kiwi", "task_type": "sum", "prompt": "1+1?", "correction": "2"}


def ids(items: Any) -> list[str]:
    return [item.id for item in items]


def test_each_action_writes_what_the_service_writes(start: Start) -> None:
    client = start(*(record(id, failure_category=None) for id in "abc"))
    begin = client.stats().revision
    corrected = client.submit(
        "a", action="correct", corrected_response="better", failure_category="wrong_answer", reviewer="kim"
    )
    assert (status_word(corrected), corrected.corrected_response, corrected.reviewed_by) == (
        "approved",
        "better",
        "kim",
    )
    assert corrected.failure_category == pb.FAILURE_CATEGORY_WRONG_ANSWER and corrected.reviewed_at
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    called = client.submit("b", action="correct", corrected_message={"content": None, "tool_calls": calls})
    assert json.loads(called.corrected_response) == calls
    assert json.loads(called.corrected_message.extra_json) == {"tool_calls": calls}
    assert status_word(client.submit("c", action="flag", corrected_response="ignored")) == "model_rejected"
    assert [each.status_after for each in client.history(since_revision=begin, oldest_first=True)] == [
        "approved",
        "approved",
        "model_rejected",
    ]
    stats = client.stats()
    assert (stats.by_status, stats.export_ready) == ({"approved": 2, "model_rejected": 1}, 2)
    assert stats.by_failure_category == {"wrong_answer": 1}
    assert (stats.by_source, stats.by_model) == ({"benchmark": 3}, {"Heron 7B": 3})


def test_an_undone_candidate_is_as_it_was(start: Start) -> None:
    decided = record("d", status="approved", corrected_response="x", failure_category="wrong_answer")
    client = start(record("a", failure_category="hallucination", corrected_response="draft"), decided)
    before = client.get_candidate("a", include_record=True)
    client.submit("a", action="correct", corrected_response="better", failure_category="wrong_answer")
    undone = client.undo("a", reviewer="kim")
    assert undone.revision > before.revision and undone.corrected_response == "draft"
    assert client.get_candidate("a", include_record=True).record_json == before.record_json
    other = client.undo("d")
    assert (status_word(other), other.HasField("corrected_response"), other.failure_category) == (
        "needs_review",
        False,
        0,
    )
    assert client.stats().export_ready == 0
    with pytest.raises(avocet_client.AlreadyInReview):
        client.undo("a")


def test_a_repeated_write_gets_its_first_answer(start: Start) -> None:
    client = start(record("a"), record("b"))
    first = client.submit("a", action="flag", request_id="r-1")
    assert client.submit("a", action="flag", request_id="r-1") == first
    with pytest.raises(avocet_client.InvalidField) as caught:
        client.submit("b", action="flag", request_id="r-1")
    assert [violation.field for violation in caught.value.field_violations] == ["request_id"]
    undone = client.undo("a", request_id="r-2")
    assert client.undo("a", request_id="r-2").revision == undone.revision
    stored = client.ingest(**FIELDS, request_id="r-3")
    again = client.ingest(**FIELDS, request_id="r-3")
    assert (stored.created, again.created, again.id) == (True, False, stored.id)
    with pytest.raises(avocet_client.InvalidField):
        client.ingest(**FIELDS | {"prompt": "?"}, request_id="r-3")
    assert client.create_snapshot("s", request_id="r-4") == client.create_snapshot("s", request_id="r-4")
    (claim,) = client.claim(reviewer="kim", request_id="r-5")
    assert [one.lease_id for one in client.claim(reviewer="kim", request_id="r-5")] == [claim.lease_id]
    client.release_claims([claim.lease_id])
    assert client.claim(reviewer="kim", request_id="r-5") == []


def test_ingested_corrections_are_approved_and_exported(start: Start) -> None:
    client = start()
    stored = client.ingest(**FIELDS, response="3", label="bad")
    results = list(
        client.ingest_many([Correction(**FIELDS), Correction(**FIELDS | {"prompt": " "}), Correction(**FIELDS)])
    )
    assert [(result.index, result.created, type(result.error)) for result in results] == [
        (0, True, type(None)),
        (1, False, avocet_client.InvalidField),
        (2, True, type(None)),
    ]
    candidate = client.get_candidate(stored.id)
    assert (candidate.label, candidate.source, status_word(candidate)) == ("bad", "kiwi", "approved")
    examples = list(client.export())
    assert ids(examples) == [stored.id, results[0].id, results[2].id]
    assert [(message.role, message.content) for message in examples[0].messages] == [
        ("user", "1+1?"),
        ("assistant", "2"),
    ]
    assert (examples[0].rejected, examples[0].metadata.label) == ("3", "bad")


def test_claims_keep_colleagues_apart(start: Start) -> None:
    client = start(*(record(id) for id in "abc"))
    with client.hold(reviewer="kim", limit=2, postpone_seconds=600) as held:
        assert [claim.candidate.id for claim in held] == ["a", "b"]
        (other,) = client.claim(reviewer="ann", limit=5)
        assert other.candidate.id == "c" and other.candidate.claim.reviewer == "ann"
        assert client.stats().claimed == 3
        with pytest.raises(avocet_client.Claimed) as caught:
            client.submit("a", action="flag", reviewer="ann")
        assert set(caught.value.metadata) == {"reviewer", "expires_at"} and caught.value.metadata["reviewer"] == "kim"
        assert ids(client.queue(claims="mine", reviewer="kim").items) == ["a", "b"]
        held[0].submit(action="discard")
        with pytest.raises(avocet_client.ClaimLost):
            client.submit("b", action="flag", lease_id=other.lease_id)
        assert client.submit("c", action="flag", reviewer="ann").reviewed_by == "ann", "the holder needs no lease"
    client.undo("a")
    assert ids(client.in_review(claims="unclaimed")) == ["a", "b"], "what was undone is held by nobody"
    assert client.submit("a", action="flag", reviewer="lee").reviewed_by == "lee"
    assert client.claim(reviewer="kim") == []
    (mine,) = client.claim(reviewer="ann")
    assert mine.candidate.id == "b"
    renewed = client.renew_claims([mine.lease_id, "unknown"], lease_seconds=3_600)
    assert (len(renewed.claims), list(renewed.lost)) == (1, ["unknown"])
    assert client.release_claims([mine.lease_id, mine.lease_id]).released == 1
    assert list(client.release_claims([mine.lease_id]).lost) == [mine.lease_id]


def test_the_history_says_who_changed_what(start: Start) -> None:
    client = start(record("a"), record("b"))
    begin = client.stats().revision
    client.submit("a", action="discard", reviewer="kim")
    client.undo("a", reviewer="ann")
    client.submit("b", action="flag")
    assert [(change.id, change.actor) for change in client.history(since_revision=begin, page_size=1)] == [
        ("b", ""),
        ("a", "ann"),
        ("a", "kim"),
    ]
    assert ids(client.history(since_revision=begin, actions=["flag", "discard"], oldest_first=True)) == ["a", "b"]
    change = next(client.history(id="a", actors=["kim"]))
    values = {field.name: (field.before_json, field.after_json) for field in change.fields}
    assert values["status"] == ('"needs_review"', '"discarded"') and values["reviewed_by"] == ("", '"kim"')
    assert (change.status_before, change.status_after) == ("needs_review", "discarded")
    (bare,) = (each for each in client.history(since_revision=begin, actors=["kim"]))
    assert {field.name for field in bare.fields} == set(values)
    assert {field.before_json for field in bare.fields} == {""}
    assert (change.source, change.file) == (pb.CHANGE_SOURCE_SERVICE, pb.SHARED_FILE_CANDIDATES)


def test_a_decision_changes_no_key_whose_value_stays(start: Start) -> None:
    odd = {"quality_score": float("nan"), "x": [1.5, {"y": float("-inf")}], "z": "a"}
    client = start(record("a", failure_category=None, **odd))
    begin = client.stats().revision
    client.submit("a", action="flag", failure_category="wrong_answer", reviewer="kim")
    client.undo("a")
    for change in client.history(since_revision=begin):
        names = {field.name for field in change.fields}
        assert names == {"status", "failure_category", "reviewed_at", "reviewed_by"}


def test_a_watch_sees_each_change_once_and_goes_on_from_its_state(start: Start) -> None:
    client = start(*(record(id) for id in "abcd"))
    begin = client.stats().revision
    for id in "abc":
        client.submit(id, action="flag")
    watch = client.watch(since_revision=begin, include_candidates=True)
    first = next(watch)
    assert (first.id, status_word(first.candidate)) == ("a", "model_rejected")
    state = json.loads(json.dumps(watch.state_dict()))
    watch.close()
    resumed = client.watch(since_revision=begin)
    resumed.load_state_dict(state)
    assert ids([next(resumed), next(resumed)]) == ["b", "c"]
    client.undo("a")
    change = next(resumed)
    assert (change.id, change.action) == ("a", pb.CHANGE_ACTION_UNDO)
    assert resumed.revision == client.stats().revision
    resumed.close()
    narrowed = client.watch(since_revision=begin, actions=["undo"])
    assert next(narrowed).id == "a"
    narrowed.close()


def test_a_batch_decides_each_for_itself(start: Start) -> None:
    client = start(*(record(id) for id in "abc"))
    decisions = [
        Decision(id="a", action="flag"),
        Decision(id="a", action="flag"),
        Decision(id="x", action="flag"),
        Decision(id="b", action="correct"),
        Decision(id="c", action="correct", corrected_response="better"),
    ]
    results = client.submit_many(decisions, request_id="r")
    assert [type(result.error) for result in results] == [
        type(None),
        avocet_client.NotInReview,
        avocet_client.CandidateNotFound,
        avocet_client.InvalidField,
        type(None),
    ]
    assert [result.status for result in results] == ["model_rejected", None, None, None, "approved"]
    again = client.submit_many(decisions, request_id="r")
    assert [(each.revision, type(each.error)) for each in again] == [(e.revision, type(e.error)) for e in results]
