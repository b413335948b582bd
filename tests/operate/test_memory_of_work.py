"""Calls that make the server work on much at once: the memory is the judge, and a good call is answered meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1.corrections_pb2_grpc import CorrectionsServiceStub
from tests.operate.memory import FULL, Judged
from tests.support import Server, bearer, eventually, failure_of, failure_of_error, record, write_records

pytestmark = pytest.mark.timeout(1200 if FULL else 600)
TEXT = "x" * 2_000_000
SMALL = "small"
PATIENCE_S = 280
"""Of a call of a crowd, on a machine that is busy with others; the server ends a call after 300 s."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with records of 2 MB, 200 in review and 60 approved, and a small one."""
    server = Server(tmp_path_factory.mktemp("work"))
    in_review = [record(f"c{n:03}", model_response=TEXT) for n in range(200)]
    write_records(server.candidates, [*in_review, record(SMALL)])
    write_records(server.approved, [record(f"a{n}", status="approved", corrected_response=TEXT) for n in range(60)])
    # The first start reads the files in, which is not what is judged here.
    server.start(within=200)
    assert server.stop() == 0
    server.start(within=200)
    yield server
    server.kill()
    assert "Traceback" not in server.log


class Crowd:
    """Callers of one server over a connection of their own, which must not be closed."""

    def __init__(self, server: Server) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)]
        self._channel = grpc.insecure_channel(server.address, options)
        self.stub = CorrectionsServiceStub(self._channel)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    @staticmethod
    def refused(calls: Iterable[Any]) -> list[bool]:
        """Whether each call was refused, once all have ended. They may be refused as OVERLOADED alone."""
        ended = [call.exception() for call in calls]
        assert {failure_of_error(error).reason for error in ended if error is not None} <= {"OVERLOADED"}
        return [error is not None for error in ended]


@pytest.mark.parametrize("action", [pb.ACTION_CORRECT, pb.ACTION_FLAG], ids=["corrections", "flags"])
def test_decisions_at_once_on_large_records_wait_for_room_and_none_is_cut_off(large: Server, action: Any) -> None:
    count = 200 if FULL else 60
    ids = [f"c{n:03}" for n in range(count)]
    text = "better" if action == pb.ACTION_CORRECT else ""
    with Judged(large, f"{count} decisions at once on records of 2 MB", small=SMALL), Crowd(large) as crowd:
        decisions = [
            pb.SubmitRequest(id=id, action=action, corrected_response=text, request_id=f"{action}-{id}") for id in ids
        ]
        refused = crowd.refused([crowd.stub.Submit.future(each, timeout=PATIENCE_S) for each in decisions])
    assert sum(refused) < count
    with Judged(large, f"{count} looks and undos at once of records of 2 MB", small=SMALL), Crowd(large) as crowd:
        for id, was_refused in zip(ids, refused, strict=True):
            status = large.stub.GetCandidate(pb.GetCandidateRequest(id=id), timeout=60).candidate.status
            assert (status == pb.CANDIDATE_STATUS_NEEDS_REVIEW) == was_refused, id
        left = [id for id, was_refused in zip(ids, refused, strict=True) if not was_refused]
        undone = crowd.refused([crowd.stub.Undo.future(pb.UndoRequest(id=id), timeout=PATIENCE_S) for id in left])
    for id, was_refused in zip(left, undone, strict=True):
        if was_refused:
            large.stub.Undo(pb.UndoRequest(id=id), timeout=60)


@pytest.mark.parametrize("method", ["GetCandidate", "Queue", "ListCandidates", "Claim"])
def test_reads_at_once_of_large_records_wait_for_room(large: Server, method: str) -> None:
    count = 300 if FULL else 100
    asked: dict[str, Any] = {
        "GetCandidate": pb.GetCandidateRequest(id="c001", include_record=True),
        "Queue": pb.QueueRequest(per_page=500, include_record=True),
        "ListCandidates": pb.ListCandidatesRequest(page_size=500, include_record=True),
        "Claim": pb.ClaimRequest(reviewer="ann", limit=1, lease_seconds=10),
    }
    judged = Judged(large, f"{count} calls at once of {method}", small=SMALL)
    with judged, Crowd(large) as one, Crowd(large) as other:
        # A connection that has more calls at once than the limit may see some of them refused as UNAVAILABLE.
        methods = [getattr(crowd.stub, method) for crowd in (one, other)]
        calls = [methods[n % 2].future(asked[method], timeout=PATIENCE_S) for n in range(count)]
        refused = Crowd.refused(calls)
    assert sum(refused) < count


def test_exports_at_once_of_large_examples_read_one_at_a_time(large: Server) -> None:
    count = 40 if FULL else 10

    def read(stub: CorrectionsServiceStub) -> str:
        try:
            responses = list(stub.StreamExport(pb.StreamExportRequest(batch_size=1_000), timeout=PATIENCE_S))
        except grpc.RpcError as error:
            return failure_of_error(error).reason or error.code().name
        return "" if responses[-1].summary.example_count >= 60 else "short"

    judged = Judged(large, f"{count} exports at once of examples of 2 MB", small=SMALL)
    with judged, Crowd(large) as crowd, ThreadPoolExecutor(count) as pool:
        ends = list(pool.map(lambda _: read(crowd.stub), range(count)))
    assert set(ends) <= {"", "OVERLOADED"} and "" in ends


def test_messages_of_12_mb_at_once_wait_for_room(server: Server) -> None:
    count = 16 if FULL else 8
    prompt, response = "p" * 4_000_000, "r" * 4_000_000
    items = [
        pb.IngestRequest(source="s", task_type="t", prompt=prompt, response=response, correction=f"{n:x}" * 4_000_000)
        for n in range(count)
    ]
    with Judged(server, f"{count} messages of 12 MB at once"), ExitStack() as stack:
        # Of one connection that sends too much all calls are ended.
        crowds = [stack.enter_context(Crowd(server)) for _ in items]
        calls = [
            crowd.stub.Ingest.future(item, metadata=bearer(), timeout=PATIENCE_S)
            for crowd, item in zip(crowds, items, strict=True)
        ]
        refused = Crowd.refused(calls)
    assert server.stats().total == count - sum(refused) > 0


def test_streams_at_once_of_messages_of_12_mb_wait_for_room(server: Server) -> None:
    count = 8 if FULL else 4
    text = "p" * 4_000_000
    item = pb.IngestRequest(source="s", task_type="t", prompt=text, response=text, correction=text)

    def send(_: int) -> bool:
        with Crowd(server) as crowd:
            messages = iter([pb.StreamIngestRequest(items=[item])] * 3)
            try:
                return len(list(crowd.stub.StreamIngest(messages, metadata=bearer(), timeout=PATIENCE_S))) == 3
            except grpc.RpcError as error:
                return failure_of_error(error).reason == "OVERLOADED"

    judged = Judged(server, f"{count} streams of messages of 12 MB at once")
    with judged, ThreadPoolExecutor(count) as pool:
        assert all(pool.map(send, range(count)))
    assert server.stats().total > 0


class Unfinished:
    """An upload that sends `size` bytes of one line, and then nothing until it is told to end."""

    def __init__(self, stub: CorrectionsServiceStub, size: int) -> None:
        self.sent = threading.Event()
        self._end = threading.Event()
        self._left = size
        self.call = stub.UploadRun.future(self._messages(), timeout=300)

    def _messages(self) -> Iterator[pb.UploadRunRequest]:
        yield pb.UploadRunRequest(run_id="endless")
        part = b" " * (3 << 20)
        while self._left > 0 and not self._end.is_set():
            self._left -= len(part)
            yield pb.UploadRunRequest(lines=part)
        self.sent.set()
        self._end.wait(300)

    def end(self) -> None:
        self._end.set()
        self.call.cancel()


def _ended(uploads: list[Unfinished]) -> list[Unfinished]:
    return [one for one in uploads if one.call.done()]


def test_unfinished_lines_of_all_uploads_together_have_one_budget(server: Server) -> None:
    count = 40 if FULL else 12
    run = "".join(json.dumps(record(f"u{n}")) + "\n" for n in range(200)).encode()
    with Judged(server, f"{count} uploads with an unfinished line of 60 MB"), Crowd(server) as crowd:
        uploads = [Unfinished(crowd.stub, 60 << 20) for _ in range(count)]
        try:
            eventually(lambda: all(one.sent.is_set() or one.call.done() for one in uploads), within=200)
            # One of them fits, and another one may have sent a part.
            over = eventually(lambda: _ended(uploads) if len(_ended(uploads)) >= count - 2 else None, within=60)
            assert {failure_of(one.call.result).reason for one in over} == {"OVERLOADED"}
            # Beside those that stay, another upload is taken.
            answer = server.stub.UploadRun(iter([pb.UploadRunRequest(run_id="sent", lines=run)]), timeout=60)
            assert answer.imported == 200
        finally:
            for one in uploads:
                one.end()


def test_a_long_line_that_an_upload_finishes_is_imported(server: Server) -> None:
    line = json.dumps(record("long", model_response="x" * (10 << 20))).encode() + b"\n"
    parts = [line[start : start + (3 << 20)] for start in range(0, len(line), 3 << 20)]
    with Judged(server, "an upload of a line of 10 MB"):
        sent = [pb.UploadRunRequest(run_id="sent"), *(pb.UploadRunRequest(lines=part) for part in parts)]
        assert server.stub.UploadRun(iter(sent), timeout=PATIENCE_S).imported == 1


def test_imports_at_once_take_their_steps_one_after_the_other(server: Server, tmp_path: Path) -> None:
    count = 40 if FULL else 20
    server.set_runs_directory()
    for n in range(count):
        (server.runs / f"run{n}").mkdir()
        path = server.runs / f"run{n}" / "sft_candidates.jsonl"
        write_records(path, [record(f"{n}-{i}", model_response="x" * 20_000, extra=[i]) for i in range(200)])
    with Judged(server, f"{count} imports of 4 MB at once"), Crowd(server) as crowd:
        calls = [crowd.stub.Import.future(pb.ImportRequest(run_id=f"run{n}"), timeout=PATIENCE_S) for n in range(count)]
        refused = crowd.refused(calls)
    assert sum(refused) < count
    assert server.stats().total >= 200 * (count - sum(refused))
