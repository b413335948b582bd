"""Corrections that sibling services push."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import SECRET, Failure, Server, bearer, eventually, failure_of, failure_of_status, records

ITEM = {"source": "peregrine", "task_type": "code", "prompt": "p", "response": "r", "correction": "c"}


def request(**changes) -> pb.IngestRequest:
    return pb.IngestRequest(**ITEM | changes)


def both(server: Server, metadata) -> list[Failure]:
    """How `Ingest` and `StreamIngest` fail with this metadata."""
    stream = iter([pb.StreamIngestRequest(items=[request()])])
    return [
        failure_of(lambda: server.stub.Ingest(request(), metadata=metadata)),
        failure_of(lambda: list(server.stub.StreamIngest(stream, metadata=metadata))),
    ]


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        ((("authorization", SECRET),), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        ((("authorization", "Basic " + SECRET),), grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
        (bearer("wrong"), grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED"),
        (bearer(SECRET + "x"), grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED"),
        (bearer(SECRET[:-1]), grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED"),
    ],
)
def test_a_missing_or_wrong_token_stores_nothing(quiet_server: Server, metadata, code, reason: str) -> None:
    before = quiet_server.stats()
    for failure in both(quiet_server, metadata):
        assert (failure.code, failure.reason) == (code, reason)
        assert SECRET not in failure.message
    assert quiet_server.stats() == before


def test_a_bearer_with_nothing_after_it_is_refused(quiet_server: Server) -> None:
    for failure in both(quiet_server, (("authorization", "Bearer "),)):
        assert failure.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
        assert failure.reason in ("TOKEN_MISSING", "TOKEN_REFUSED")


@pytest.mark.parametrize("secret", [None, ""])
def test_without_a_secret_ingestion_is_unavailable_whatever_the_token(tmp_path: Path, secret: str | None) -> None:
    server = Server(tmp_path, secret=secret).start()
    try:
        for metadata in ((), bearer(), (("authorization", "Bearer "),)):
            for failure in both(server, metadata):
                assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "INGESTION_NOT_CONFIGURED")
        assert server.stats().total == 0
    finally:
        server.kill()


def test_a_request_id_stores_once_also_after_a_restart_and_refuses_other_content(server: Server) -> None:
    first = server.ingest(request(request_id="r1"))
    again = server.ingest(request(request_id="r1"))
    assert (first.created, again.created, again.id) == (True, False, first.id)
    failure = failure_of(lambda: server.ingest(request(request_id="r1", correction="other")))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
    server.kill()
    server.start()
    assert server.ingest(request(request_id="r1")) == again
    assert server.stats().total == 1
    if server.has_files:
        eventually(lambda: [r["id"] for r in records(server.approved)] == [first.id])


def test_a_refused_request_id_is_not_remembered(server: Server) -> None:
    failure_of(lambda: server.ingest(request(request_id="r1", correction=" ")))
    assert server.ingest(request(request_id="r1")).created


def test_a_bad_item_in_a_stream_is_refused_alone(server: Server) -> None:
    messages = [
        pb.StreamIngestRequest(items=[request(request_id="a"), request(correction=" \n")]),
        pb.StreamIngestRequest(),
        pb.StreamIngestRequest(items=[request(prompt=""), request(request_id="a"), request(label="")]),
    ]
    answers = server.stub.StreamIngest(iter(messages), metadata=bearer())
    results = [result for answer in answers for result in answer.results]
    assert [result.index for result in results] == [0, 1, 2, 3, 4]
    assert [result.HasField("error") for result in results] == [False, True, True, False, False]
    assert [result.created for result in results] == [True, False, False, False, True]
    assert results[3].id == results[0].id
    for result, field in ((results[1], "correction"), (results[2], "prompt")):
        failure = failure_of_status(result.error)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert [name.split(".")[-1] for name in failure.fields] == [field]
        assert result.id == ""
    assert server.stats().total == 2


def test_a_stream_answers_an_item_before_the_next_is_sent(server: Server) -> None:
    sent = []

    def messages():
        for number in range(3):
            sent.append(number)
            yield pb.StreamIngestRequest(items=[request(prompt=f"p{number}")])
            eventually(lambda n=number: len(answered) > n)

    answered = []
    for answer in server.stub.StreamIngest(messages(), metadata=bearer()):
        answered += [result.id for result in answer.results]
    assert len(answered) == len(set(answered)) == 3


def test_more_than_a_thousand_items_in_a_message_are_refused_and_a_thousand_are_stored(server: Server) -> None:
    def send(count: int) -> list[pb.StreamIngestResult]:
        message = pb.StreamIngestRequest(items=[request(prompt=f"p{n}") for n in range(count)])
        answers = server.stub.StreamIngest(iter([message]), metadata=bearer())
        return [result for answer in answers for result in answer.results]

    failure = failure_of(lambda: send(1_001))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["items"])
    assert server.stats().total == 0
    assert [result.index for result in send(1_000)] == list(range(1_000))
    assert server.stats().total == server.stats().export_ready == 1_000


def test_what_came_before_a_refused_message_is_answered_in_order(server: Server) -> None:
    messages = [pb.StreamIngestRequest(items=[request(prompt=f"{m}.{n}") for n in range(10)]) for m in range(6)]
    messages.append(pb.StreamIngestRequest(items=[request()] * 1_001))
    results: list[pb.StreamIngestResult] = []

    def send() -> None:
        for answer in server.stub.StreamIngest(iter(messages), metadata=bearer()):
            results.extend(answer.results)

    assert failure_of(send).fields == ["items"]
    assert [result.index for result in results] == list(range(60))
    sent = [example.id for each in server.stub.StreamExport(pb.StreamExportRequest()) for example in each.examples]
    assert sent == [result.id for result in results]
    if server.has_files:
        eventually(lambda: len(records(server.approved)) == 60)
        assert [content["id"] for content in records(server.approved)] == [result.id for result in results]


LONGEST = {name: "\x01" * 4_000_000 for name in ("prompt", "response", "correction")}
"""Texts that are as long as they may be, each of whose characters takes six in a line: more than 64 MB."""


@pytest.mark.both_engines
def test_texts_whose_line_no_file_could_have_are_refused(server: Server) -> None:
    single = failure_of(lambda: server.ingest(request(**LONGEST)))
    assert (single.code, single.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["prompt"])
    assert "longer than 64 MB" in single.message
    items = [request(), request(**LONGEST), request()]
    messages = iter([pb.StreamIngestRequest(items=[item]) for item in items])
    answers = server.stub.StreamIngest(messages, metadata=bearer())
    results = [result for answer in answers for result in answer.results]
    assert [bool(result.id) for result in results] == [True, False, True]
    assert failure_of_status(results[1].error).fields == ["prompt"]
    assert server.stats().total == server.stats().export_ready == 2
