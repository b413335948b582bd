"""Records of many programs, through the real server: what reviewers and trainers get, and what the files keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Json, Server, eventually, lines, record, write_records

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "default": float("nan")}}}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
SHAREGPT = [
    {"from": "system", "value": "You have tools."},
    {"from": "human", "value": "2+2?"},
    {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
    {"from": "observation", "value": "4"},
]
OPENAI = [
    {"role": "user", "content": [{"type": "text", "text": "2+2\ud800?"}, {"type": "image_url", "x": float("nan")}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "\udfff": "key"},
    {"role": "tool", "tool_call_id": "call_1", "content": "4"},
]
FORMS: dict[str, Json] = {
    "sharegpt": {"prompt_messages": SHAREGPT, "tools": json.dumps(TOOLS[:1])},
    "object": {"prompt_messages": {"conversations": SHAREGPT[:2], "lang": "en"}},
    "openai": {"prompt_messages": OPENAI, "tools": TOOLS},
    "string": {"prompt_messages": "2+2?"},
    "none": {"prompt_messages": None},
    "odd": {"prompt_messages": [{"text": "2+2?\udfff"}], "tools": "a hammer"},
    "no-role": {"prompt_messages": [{"content": "2+2?"}]},
    "parts": {"model_response": [{"type": "text", "text": "fi"}, {"type": "text", "text": "ve"}, float("inf")]},
    "number": {"model_response": 5, "corrected_response": 4},
    "boolean": {"corrected_response": True},
    "blank": {"corrected_response": " \n"},
    "list": {"corrected_response": ["4"]},
    "nan": {"corrected_response": float("nan")},
}
EXPORTED = ["sharegpt", "object", "openai", "string", "none", "parts", "number", "boolean"]


def approved(id: str) -> Json:
    return record(id, status="approved", corrected_response="four") | {"extra\ud83d": [id]} | FORMS[id]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with each form in review, and each form approved in the approved file."""
    server = Server(tmp_path_factory.mktemp("forms"))
    write_records(server.candidates, [approved(id) | {"status": "needs_review"} for id in FORMS])
    write_records(server.approved, [approved(id) for id in FORMS])
    yield server.start()
    server.kill()


def candidate(server: Server, id: str, **fields: Any) -> pb.Candidate:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id, **fields)).candidate


def examples(server: Server) -> dict[str, pb.TrainingExample]:
    stream = server.stub.StreamExport(pb.StreamExportRequest())
    return {example.id: example for response in stream for example in response.examples}


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not strict JSON")

    return json.loads(text, parse_constant=refuse)


def plain(message: pb.ChatMessage, read: Callable[[str], Any] = json.loads) -> Json:
    """The message as one object."""
    content: Json = {"content": message.content} if message.HasField("content") else {}
    if message.content_json:
        content = {"content": read(message.content_json)}
    return {"role": message.role} | content | (read(message.extra_json) if message.extra_json else {})


def test_sharegpt_reaches_reviewers_as_roles_and_tool_calls(served: Server) -> None:
    found = candidate(served, "sharegpt")
    call = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    assert [plain(message) for message in found.prompt_messages] == [
        {"role": "system", "content": "You have tools."},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "4"},
    ]
    assert not found.prompt_json
    assert repr(json.loads(found.tools_json)) == repr(TOOLS)
    assert "tools" not in json.loads(found.extra_json)


def test_what_stands_beside_the_messages_of_an_object_is_kept(served: Server) -> None:
    found = candidate(served, "object")
    assert [message.role for message in found.prompt_messages] == ["system", "user"]
    assert json.loads(found.extra_json)["prompt_messages"] == {"lang": "en"}


@pytest.mark.parametrize("id", ["odd", "no-role"])
def test_a_prompt_that_cannot_be_read_is_shown_raw_and_once(served: Server, id: str) -> None:
    found = candidate(served, id)
    assert not found.prompt_messages
    assert json.loads(found.prompt_json) == json.loads(
        json.dumps(FORMS[id]["prompt_messages"]).replace("\\udfff", "\ufffd")
    )
    assert not found.prompt_digest
    assert "prompt_messages" not in json.loads(found.extra_json)


def test_what_is_no_list_of_tools_stays_in_the_rest(served: Server) -> None:
    found = candidate(served, "odd")
    assert not found.tools_json
    assert json.loads(found.extra_json)["tools"] == "a hammer"


def test_the_digest_is_that_of_the_served_messages_in_every_form(served: Server) -> None:
    for id in ("sharegpt", "object", "openai", "string", "parts"):
        found = candidate(served, id)
        messages = [plain(message) for message in found.prompt_messages]
        text = json.dumps(messages, sort_keys=True, separators=(",", ":"))
        assert found.prompt_digest == hashlib.sha256(text.encode()).hexdigest(), id
    assert not candidate(served, "none").prompt_digest


def test_a_response_of_parts_is_shown_as_text_and_as_json(served: Server) -> None:
    found = candidate(served, "parts")
    assert found.model_response == "five"
    assert json.loads(found.model_response_json) == FORMS["parts"]["model_response"]
    assert "model_response" not in json.loads(found.extra_json)
    assert candidate(served, "number").model_response_json == "5"


def test_the_record_comes_as_the_files_text_only_if_it_is_asked_for(served: Server) -> None:
    assert not candidate(served, "openai").record_json
    found = candidate(served, "openai", include_record=True)
    assert found.record_json == json.dumps(approved("openai") | {"status": "needs_review"})
    assert "\\ud800" in found.record_json
    (page,) = (served.stub.Queue(pb.QueueRequest(include_record=on)).items for on in [True])
    assert {item.id: json.loads(item.record_json)["id"] for item in page} == {id: id for id in FORMS}
    assert not any(item.record_json for item in served.stub.Queue(pb.QueueRequest()).items)


def test_only_what_means_something_to_a_trainer_is_exported(served: Server) -> None:
    assert list(examples(served)) == EXPORTED
    assert served.stats().export_ready == len(EXPORTED)


def test_an_example_has_the_prompt_of_every_form_in_strict_json(served: Server) -> None:
    found = examples(served)
    assert [message.role for message in found["sharegpt"].messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert [plain(message, strict) for message in found["string"].messages] == [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "four"},
    ]
    assert [plain(message, strict) for message in found["none"].messages] == [{"role": "assistant", "content": "four"}]
    assert [plain(message, strict) for message in found["openai"].messages][:2] == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "2+2\ufffd?"}, {"type": "image_url", "x": None}],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL], "\ufffd": "key"},
    ]
    nothing = json.loads(json.dumps(TOOLS).replace("NaN", "null"))
    assert strict(found["openai"].tools_json) == nothing
    assert strict(found["sharegpt"].tools_json) == nothing
    assert not found["string"].tools_json


def test_the_rejected_side_keeps_a_response_that_is_no_string(served: Server) -> None:
    found = examples(served)
    assert (found["parts"].rejected, strict(found["parts"].rejected_json)) == (
        "five",
        [{"type": "text", "text": "fi"}, {"type": "text", "text": "ve"}, None],
    )
    assert (found["number"].rejected, found["number"].rejected_json) == ("", "5")
    assert not found["string"].rejected_json


def test_a_number_and_a_boolean_are_corrections_as_their_json(served: Server) -> None:
    found = examples(served)
    assert found["number"].messages[-1].content == "4"
    assert found["boolean"].messages[-1].content == "true"
    assert candidate(served, "number").corrected_response == "4"
    assert json.loads(candidate(served, "number").extra_json)["corrected_response"] == 4


def test_no_lone_surrogate_leaves_the_server_and_the_files_keep_theirs(served: Server) -> None:
    for id in FORMS:
        assert "\\ud83d" not in candidate(served, id).extra_json
        assert json.loads(candidate(served, id).extra_json)["extra\ufffd"] == [id]
    assert lines(served.approved) == [json.dumps(approved(id)).encode() for id in FORMS]


@pytest.mark.files("what is written into the files")
def test_a_decision_leaves_the_prompt_of_any_form_as_it_is(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [approved(id) | {"status": "needs_review"} for id in FORMS])
    server = stopped_server.start()
    for id in FORMS:
        server.correct(id, "four")

    def kept() -> bool:
        found = {json.loads(line)["id"]: json.loads(line) for line in lines(server.approved)}
        for id in FORMS:
            for key in ("prompt_messages", "model_response", "tools", "extra\ud83d"):
                assert repr(found.get(id, {}).get(key)) == repr(approved(id).get(key))
        return True

    eventually(kept)
    assert list(examples(server)) == [id for id in FORMS if id not in ("odd", "no-role")]
