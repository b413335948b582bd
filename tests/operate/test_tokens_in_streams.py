"""A token that is revoked or expires while a stream goes on, and whose request_ids are whose."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.support import Bearer, new_token
from tests.operate.test_tokens import reads
from tests.support import Server, bearer, eventually, failure_of, record, write_records

ITEM = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c" * 300_000)


@pytest.fixture
def file(stopped_server: Server) -> Path:
    file = stopped_server.directory / "tokens.yaml"
    stopped_server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    return file


def revoke_all_but(server: Server, file: Path, name: str) -> None:
    entries = file.read_text().split("- name: ")
    file.write_text("".join(f"- name: {entry}" for entry in entries if entry.startswith(f"{name}\n")))
    eventually(lambda: server.log.count("read again") > 0)


def each(messages: queue.SimpleQueue[Any]) -> Iterator[Any]:
    """The messages of a call, given one by one; None is its end."""
    while (message := messages.get()) is not None:
        yield message


class Sending:
    """A StreamIngest whose messages are given one by one."""

    def __init__(self, server: Server, token: str) -> None:
        self._messages: queue.SimpleQueue[pb.StreamIngestRequest | None] = queue.SimpleQueue()
        self.call: Any = server.stub.StreamIngest(each(self._messages), metadata=bearer(token), timeout=60)

    def send(self) -> pb.StreamIngestResponse:
        self._messages.put(pb.StreamIngestRequest(items=[ITEM]))
        return next(self.call)  # type: ignore[no-any-return]


def test_a_token_that_is_revoked_stores_nothing_more_through_a_stream(stopped_server: Server, file: Path) -> None:
    token, kept = new_token(file, "kiwi", "ingest"), new_token(file, "other", "reader")
    server = stopped_server.start()
    sending = Sending(server, token)
    assert sending.send().results[0].created
    revoke_all_but(server, file, "other")
    failure = failure_of(sending.send)
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED")
    assert Bearer(server.open_channel, kept).Stats(pb.StatsRequest()).total == 1


def test_a_token_that_loses_only_its_role_stores_nothing_more_through_a_stream(
    stopped_server: Server, file: Path
) -> None:
    token = new_token(file, "kiwi", "ingest", "reader")
    server = stopped_server.start()
    sending = Sending(server, token)
    assert sending.send().results[0].created
    file.write_text(re.sub(r"roles:.*", "roles: [reader]", file.read_text()))
    eventually(lambda: "read again" in server.log)
    failure = failure_of(sending.send)
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED")
    # It is a good token for what it may still do.
    assert Bearer(server.open_channel, token).Stats(pb.StatsRequest()).total == 1


def test_a_token_that_is_revoked_stores_nothing_more_through_an_upload(stopped_server: Server, file: Path) -> None:
    token, kept = new_token(file, "kim", "reviewer"), new_token(file, "other", "reader")
    server = stopped_server.start()
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(name: str) -> None:
        # Enough to be stored at once, although more may follow.
        lines = "".join(json.dumps(record(f"{name}{n}", model_response="x" * 10_000)) + "\n" for n in range(10))
        messages.put(pb.UploadRunRequest(run_id="" if name == "after" else "sent", lines=lines.encode()))

    def stored() -> int:
        return int(Bearer(server.open_channel, kept).Stats(pb.StatsRequest()).total)

    upload = server.stub.UploadRun.future(each(messages), metadata=bearer(token), timeout=60)
    send("before")
    eventually(lambda: stored() == 10)
    revoke_all_but(server, file, "other")
    assert not upload.done()
    send("after")
    failure = failure_of(upload.result)
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED")
    assert stored() == 10


def test_a_token_that_is_revoked_gets_no_further_response_of_an_export(stopped_server: Server, file: Path) -> None:
    token, kept = new_token(file, "trainer", "export"), new_token(file, "other", "ingest", "reader")
    server = stopped_server.start()
    for _ in range(60):
        Bearer(server.open_channel, kept).Ingest(ITEM)
    export = Bearer(server.open_channel, token).StreamExport(pb.StreamExportRequest(batch_size=1))
    assert next(export).total == 60
    revoke_all_but(server, file, "other")
    failure = failure_of(lambda: list(export))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED")


def test_a_token_that_is_revoked_gets_no_further_response_of_a_watch(stopped_server: Server, file: Path) -> None:
    token, kept = new_token(file, "follower", "reader"), new_token(file, "other", "ingest")
    server = stopped_server.start()
    watch = Bearer(server.open_channel, token).Watch(pb.WatchRequest())
    next(watch)
    revoke_all_but(server, file, "other")
    Bearer(server.open_channel, kept).Ingest(ITEM)
    failure = failure_of(lambda: next(watch))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED")


def test_a_token_that_expires_during_a_stream_ends_it(stopped_server: Server, file: Path) -> None:
    token = new_token(file, "kiwi", "ingest")
    server = stopped_server.start()
    sending = Sending(server, token)
    assert sending.send().results[0].created
    # Only now, since a busy machine takes long to start the server.
    expires = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 6, UTC)
    file.write_text(file.read_text() + f"  expires: {expires.isoformat()}\n")

    def ended() -> bool:
        try:
            return not sending.send()
        except grpc.RpcError as error:
            told: Any = error
            return bool(told.code() == grpc.StatusCode.PERMISSION_DENIED)

    eventually(ended)


def test_a_changed_file_ends_no_stream_whose_token_is_still_in_it(stopped_server: Server, file: Path) -> None:
    token = new_token(file, "kiwi", "ingest")
    server = stopped_server.start()
    sending = Sending(server, token)
    assert sending.send().results[0].created
    added = new_token(file, "other", "reader")
    eventually(reads(server, added))
    assert sending.send().results[0].created


def test_each_token_has_request_ids_of_its_own(stopped_server: Server, file: Path) -> None:
    first, second = new_token(file, "kiwi", "ingest"), new_token(file, "peregrine", "ingest")
    server = stopped_server.start()

    def ingest(token: str, prompt: str) -> pb.IngestResponse:
        request = pb.IngestRequest(source="s", task_type="t", prompt=prompt, correction="c", request_id="r1")
        return Bearer(server.open_channel, token).Ingest(request)  # type: ignore[no-any-return]

    one, two = ingest(first, "one"), ingest(second, "two")
    assert one.created and two.created and one.id != two.id
    assert ingest(first, "one").id == one.id and not ingest(second, "two").created
    assert failure_of(lambda: ingest(first, "two")).fields == ["request_id"]


def test_each_tokens_writes_have_request_ids_of_its_own_also_after_a_restart(
    stopped_server: Server, file: Path
) -> None:
    server = stopped_server
    tokens = [new_token(file, name, "reviewer", "export") for name in ("kiwi", "peregrine")]
    write_records(server.candidates, [record(f"{kind}{n}") for kind in ("submit", "batch", "undo") for n in range(2)])
    server.start()
    for n, token in enumerate(tokens):
        Bearer(server.open_channel, token).Submit(pb.SubmitRequest(id=f"undo{n}", action=pb.ACTION_DISCARD))

    def writes(n: int) -> list[Callable[[], Any]]:
        """A call of each method by one token, with the request_id of the same call by the other."""
        mine = Bearer(server.open_channel, tokens[n])
        decision = pb.SubmitRequest(id=f"batch{n}", action=pb.ACTION_DISCARD)
        return [
            lambda: mine.Submit(pb.SubmitRequest(id=f"submit{n}", action=pb.ACTION_DISCARD, request_id="submit")),
            lambda: mine.BatchSubmit(pb.BatchSubmitRequest(decisions=[decision], request_id="batch")),
            lambda: mine.Undo(pb.UndoRequest(id=f"undo{n}", request_id="undo")),
            lambda: mine.Claim(pb.ClaimRequest(limit=1, request_id="claim")),
            lambda: mine.CreateSnapshot(pb.CreateSnapshotRequest(name=f"snapshot{n}", request_id="snapshot")),
        ]

    def answers() -> list[tuple[Any, Any]]:
        return [(one(), other()) for one, other in zip(writes(0), writes(1), strict=True)]

    first = answers()
    assert all(one != other for one, other in first)
    assert answers() == first
    assert server.stop() == 0
    server.start()
    assert answers() == first
    # The ids are not lost: with other content they are refused.
    mine = Bearer(server.open_channel, tokens[0])
    other = pb.SubmitRequest(id="submit1", action=pb.ACTION_DISCARD, request_id="submit")
    assert failure_of(lambda: mine.Submit(other)).fields == ["request_id"]


def test_without_tokens_all_calls_share_their_request_ids(server: Server) -> None:
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c", request_id="r1"))
    id = next(iter(server.stub.StreamExport(pb.StreamExportRequest()))).examples[0].id
    failure = failure_of(lambda: server.stub.Undo(pb.UndoRequest(id=id, request_id="r1")))
    assert (failure.reason, failure.fields) == ("INVALID_FIELD", ["request_id"])
