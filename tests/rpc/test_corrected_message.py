"""Corrections that are tool calls: what `Submit` takes, what the files get, what undo and other programs make of it."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Failure, Json, Server, eventually, failure_of, record, records, write_records

CALLS = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}]
MESSAGE = pb.ChatMessage(role="assistant", extra_json=json.dumps({"tool_calls": CALLS, "name": "solver"}))


def submit(server: Server, id: str, message: pb.ChatMessage, **fields: Any) -> pb.Candidate:
    request = pb.SubmitRequest(id=id, action=pb.ACTION_CORRECT, corrected_message=message, **fields)
    return server.stub.Submit(request).candidate


def shared(server: Server, id: str) -> Json:
    return next(each for each in records(server.candidates) if each["id"] == id)


def last_message(server: Server) -> pb.ChatMessage:
    (response, *_) = server.stub.StreamExport(pb.StreamExportRequest())
    return response.examples[-1].messages[-1]


@pytest.fixture
def one(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record("a")])
    return stopped_server.start()


@pytest.mark.files("what is written into the files")
def test_a_tool_call_is_written_whole_and_as_text_for_programs_that_know_only_text(one: Server) -> None:
    after = submit(one, "a", MESSAGE, reviewer="kim")
    assert (after.status, after.corrected_response) == (pb.CANDIDATE_STATUS_APPROVED, json.dumps(CALLS))
    assert after.corrected_message == MESSAGE
    assert not after.extra_json
    written = {"role": "assistant", "tool_calls": CALLS, "name": "solver"}
    eventually(lambda: shared(one, "a").get("corrected_message") == written)
    eventually(lambda: records(one.approved) and records(one.approved)[0]["corrected_message"] == written)
    assert shared(one, "a")["corrected_response"] == json.dumps(CALLS)
    exported = last_message(one)
    assert (exported.role, json.loads(exported.extra_json)) == ("assistant", {"tool_calls": CALLS, "name": "solver"})


def test_text_beside_the_calls_is_the_corrected_response(one: Server) -> None:
    after = submit(one, "a", pb.ChatMessage(content="Adding.", extra_json=json.dumps({"tool_calls": CALLS})))
    assert after.corrected_response == "Adding."
    assert last_message(one).content == "Adding."
    assert json.loads(last_message(one).extra_json) == {"tool_calls": CALLS}


def test_the_same_request_id_gives_the_first_answer_and_other_calls_are_refused(one: Server) -> None:
    first = submit(one, "a", MESSAGE, request_id="r1")
    assert submit(one, "a", MESSAGE, request_id="r1") == first
    failure = failure_of(lambda: submit(one, "a", pb.ChatMessage(content="x"), request_id="r1"))
    assert failure.fields == ["request_id"]


@pytest.mark.files("what is written into the files")
def test_undo_takes_the_message_out_and_the_record_is_as_before(one: Server) -> None:
    submit(one, "a", MESSAGE)
    undone = one.stub.Undo(pb.UndoRequest(id="a")).candidate
    assert undone.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    assert not undone.HasField("corrected_message")
    eventually(lambda: shared(one, "a") == record("a"))
    eventually(lambda: records(one.approved) == [])


@pytest.mark.files("what is written into the files")
def test_a_text_correction_takes_an_older_message_out_and_undo_brings_it_back(stopped_server: Server) -> None:
    older = record("a", corrected_message={"role": "assistant", "content": "old"}, corrected_response="old")
    write_records(stopped_server.candidates, [older])
    server = stopped_server.start()
    after = server.correct("a", "new")
    assert not after.HasField("corrected_message")
    eventually(lambda: shared(server, "a")["status"] == "approved" and "corrected_message" not in shared(server, "a"))
    server.stub.Undo(pb.UndoRequest(id="a"))
    eventually(lambda: shared(server, "a") == older)


@pytest.mark.files("what is written into the files")
def test_an_undo_that_does_not_know_better_takes_the_message_out(stopped_server: Server) -> None:
    """The decision is another program's."""
    decided = record(
        "a", status="approved", corrected_response=json.dumps(CALLS), corrected_message={"tool_calls": CALLS}
    )
    write_records(stopped_server.candidates, [decided])
    server = stopped_server.start()
    undone = server.stub.Undo(pb.UndoRequest(id="a")).candidate
    assert not undone.HasField("corrected_message") and not undone.HasField("corrected_response")
    eventually(lambda: shared(server, "a") == record("a"))


def test_if_another_program_changes_the_text_the_text_counts(stopped_server: Server) -> None:
    message = {"role": "assistant", "tool_calls": CALLS}
    changed = record("a", status="approved", corrected_response="four", corrected_message=message)
    write_records(stopped_server.candidates, [changed])
    write_records(stopped_server.approved, [changed])
    server = stopped_server.start()
    found = server.stub.GetCandidate(pb.GetCandidateRequest(id="a")).candidate
    assert not found.HasField("corrected_message")
    assert json.loads(found.extra_json) == {"corrected_message": message}
    assert (last_message(server).content, last_message(server).extra_json) == ("four", "")


def test_discard_and_flag_ignore_it(one: Server) -> None:
    request = pb.SubmitRequest(id="a", action=pb.ACTION_DISCARD, corrected_message=pb.ChatMessage(role="user"))
    assert not one.stub.Submit(request).candidate.HasField("corrected_message")


def deep(levels: int) -> str:
    return '{"tool_calls": [{"x": ' + "[" * (levels - 3) + "]" * (levels - 3) + "}]}"


def extra(text: str) -> pb.ChatMessage:
    return pb.ChatMessage(content="x", extra_json=text)


REFUSED: dict[str, tuple[pb.ChatMessage, str]] = {
    "nothing in it": (pb.ChatMessage(), ""),
    "blank content": (pb.ChatMessage(role="assistant", content=" \n"), ""),
    "another role": (pb.ChatMessage(role="user", content="x"), ".role"),
    "content as JSON": (pb.ChatMessage(content_json='"x"', extra_json='{"tool_calls": [{}]}'), ".content_json"),
    "no JSON": (extra("{"), ".extra_json"),
    "a list": (extra("[]"), ".extra_json"),
    "NaN": (extra('{"x": NaN}'), ".extra_json"),
    "a number beyond a double": (extra('{"x": 1e999}'), ".extra_json"),
    "a lone surrogate": (extra('{"x": "\\ud800"}'), ".extra_json"),
    "a role in it": (extra('{"role": "user"}'), ".extra_json"),
    "a content in it": (extra('{"content": "y"}'), ".extra_json"),
    "calls that are null": (extra('{"tool_calls": null}'), ".extra_json"),
    "no calls": (extra('{"tool_calls": []}'), ".extra_json"),
    "calls that are no objects": (extra('{"tool_calls": ["add"]}'), ".extra_json"),
    "nesting of 101": (extra(deep(101)), ".extra_json"),
    "nesting of 100,000": (extra("[" * 100_000), ".extra_json"),
    "too long a text": (pb.ChatMessage(content="x" * 4_000_001), ".content"),
    "too long an object": (extra('{"x": "' + "x" * 4_000_000 + '"}'), ".extra_json"),
}


def refusal(server: Server, message: pb.ChatMessage, **fields: Any) -> Failure:
    failure = failure_of(lambda: submit(server, "a", message, **fields))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    return failure


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_correction_is_refused_by_its_field(quiet_server: Server, what: str) -> None:
    message, field = REFUSED[what]
    assert refusal(quiet_server, message).fields == [f"corrected_message{field}"]


def test_a_message_and_a_text_together_are_refused(quiet_server: Server) -> None:
    assert refusal(quiet_server, MESSAGE, corrected_response="x").fields == ["corrected_response"]


def test_nesting_of_100_is_taken(one: Server) -> None:
    assert submit(one, "a", extra(deep(100))).corrected_response == "x"


def test_a_decision_that_would_make_a_line_of_more_than_64_mb_is_refused_and_changes_nothing(
    stopped_server: Server,
) -> None:
    # As UTF-8 it is below the limit; as the ASCII that we write it is above.
    long = record("a", model_response="\u00e9" * 11_300_000)
    stopped_server.candidates.write_bytes(json.dumps(long, ensure_ascii=False).encode() + b"\n")
    before = stopped_server.candidates.read_bytes()
    server = stopped_server.start()
    failure = failure_of(lambda: server.correct("a", "four"))
    assert (failure.reason, failure.fields) == ("INVALID_FIELD", ["corrected_response"])
    assert failure_of(lambda: submit(server, "a", MESSAGE)).fields == ["corrected_message"]
    flag = pb.SubmitRequest(id="a", action=pb.ACTION_FLAG)
    assert failure_of(lambda: server.stub.Submit(flag)).fields == ["id"]
    assert server.candidates.read_bytes() == before
