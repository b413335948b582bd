"""Answers that nobody takes off, and large records: the memory is the judge, and a good call is answered meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.memory import FULL, Judged, forget_peaks, peak_bytes
from tests.operate.raw import RawConnection
from tests.operate.support import SERVICE, resident_bytes
from tests.support import SECRET, Server, eventually, record, write_records

# The first test that needs a server with 400 MB of records starts it twice.
pytestmark = pytest.mark.timeout(1_200 if FULL else 400)
TOKEN = ("authorization", f"Bearer {SECRET}")


def hold_unread(abused: Server, path: str, message: bytes, count: int, stack: ExitStack) -> int:
    """Make `count` calls whose answers nobody reads. Gives how many bytes of answers have come."""
    connections: list[RawConnection] = []
    for number in range(count):
        if number % 100 == 0:
            connections.append(stack.enter_context(RawConnection(abused.address)))
            # No call may keep another one of its connection from its first bytes.
            connections[-1].http.increment_flow_control_window(1 << 30)
        connection = connections[-1]
        connection.send(connection.call("", TOKEN, path=path), message)
    return sum(connection.received_bytes() for connection in connections)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 20 MB of examples."""
    server = Server(tmp_path_factory.mktemp("large"))
    text = "x" * 50_000
    write_records(
        server.approved,
        [record(f"a{n}", status="approved", corrected_response=text) for n in range(400)],
    )
    # The first start reads the files in, which is not what is judged here.
    server.start(within=200)
    assert server.stop() == 0
    server.start(within=200)
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize("batch_size", [0, 1_000])
def test_exports_that_nobody_reads(large: Server, batch_size: int) -> None:
    request = pb.StreamExportRequest(batch_size=batch_size).SerializeToString()
    count = 400 if FULL else 200
    with Judged(large, f"{count} unread exports, batch_size {batch_size}"), ExitStack() as stack:
        hold_unread(large, f"/{SERVICE}/StreamExport", request, count, stack)
        time.sleep(3)
        quick = list(large.stub.StreamExport(pb.StreamExportRequest(batch_size=batch_size), timeout=60))
        assert quick[-1].summary.example_count == 400


def test_watches_that_nobody_reads(tmp_path: Path) -> None:
    server = Server(tmp_path)
    write_records(server.candidates, [record(f"c{n}", model_response="x" * 20_000) for n in range(100)])
    server.start()
    start = server.stats().revision
    flags = pb.BatchSubmitRequest(decisions=[pb.SubmitRequest(id=f"c{n}", action=pb.ACTION_FLAG) for n in range(100)])
    for number in range(12):
        # Each that is so far behind reads for itself.
        server.stub.BatchSubmit(flags)
        for n in range(100 if number < 11 else 0):
            server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
    request = pb.WatchRequest(since_revision=start, include_candidates=True)
    try:
        with Judged(server, "1,000 unread watches"), ExitStack() as stack:
            for _ in range(10):
                hold_unread(server, f"/{SERVICE}/Watch", request.SerializeToString(), 99, stack)
                server.stats()
            quick = server.stub.Watch(request, timeout=60)
            seen = list[pb.Change]()
            while len(seen) < 2_300:
                seen += next(quick).changes
            server.stub.Undo(pb.UndoRequest(id="c0"))
            while len(seen) < 2_301:
                seen += next(quick).changes
            assert seen[-1].id == "c0" and len({change.revision for change in seen}) == 2_301
            quick.cancel()
            settled(server)
        assert server.stop() == 0
    finally:
        server.kill()


def settled(server: Server) -> None:
    """Wait until the server has prepared what it will hold for those who do not read."""
    used, since = 0.0, time.monotonic()
    while time.monotonic() - since < 1 and time.monotonic() < since + 60:
        time.sleep(0.2)
        if (now := cpu_seconds(server)) > used + 0.05:
            used, since = now, time.monotonic()


def cpu_seconds(server: Server) -> float:
    """CPU time of the processes that serve calls."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in server.processes("worker")]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def many_large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 200 records of 2 MB in review."""
    server = Server(tmp_path_factory.mktemp("many"))
    write_records(server.candidates, [record(f"c{n:03}", model_response="x" * 2_000_000) for n in range(200)])
    server.start(within=200)
    assert server.stop() == 0
    server.start(within=200)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


def page_of_many(server: Server, method: str) -> tuple[list[str], str]:
    """The ids of a first page that asks for 500, and the token of the next one."""
    if method == "Queue":
        page: Any = server.stub.Queue(pb.QueueRequest(per_page=500), timeout=60)
    else:
        page = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=500), timeout=60)
    return [item.id for item in page.items], page.next_page_token


@pytest.mark.parametrize("method", ["Queue", "ListCandidates"])
def test_a_page_of_large_records_reads_no_more_than_the_page(many_large: Server, method: str) -> None:
    before = resident_bytes(many_large)
    forget_peaks(many_large.pids)
    for _ in range(5):
        ids, token = page_of_many(many_large, method)
        assert ids == ["c000"] and token
    growth = peak_bytes(many_large.pids) - before
    print(f"{method} of 500 over 200 records of 2 MB: {growth >> 20} MB more")
    # All of them are 400 MB.
    assert growth < 150 << 20


UNREAD = {
    "Queue": pb.QueueRequest(per_page=500, include_record=True),
    "GetCandidate": pb.GetCandidateRequest(id="c001", include_record=True),
    "ListCandidates": pb.ListCandidatesRequest(page_size=500, include_record=True),
    "ListHistory": pb.ListHistoryRequest(id="c001"),
}


@pytest.mark.parametrize("method", UNREAD)
def test_answers_of_one_call_that_nobody_reads(many_large: Server, method: str) -> None:
    count = 400 if FULL else 100
    with Judged(many_large, f"{count} unread answers of {method}"), ExitStack() as stack:
        hold_unread(many_large, f"/{SERVICE}/{method}", UNREAD[method].SerializeToString(), count, stack)
        time.sleep(3)
        # Large answers of others wait at first; those that nobody takes off make room for them.
        page = many_large.stub.Queue(pb.QueueRequest(per_page=1), timeout=30)
        assert len(page.items) == 1


def test_watches_of_large_candidates_that_nobody_reads(many_large: Server) -> None:
    count = 400 if FULL else 100
    since = many_large.stats().revision
    for number in range(8):
        many_large.correct(f"c{number:03}", text="y")
    request = pb.WatchRequest(since_revision=since, include_candidates=True, include_record=True)
    with Judged(many_large, f"{count} unread watches"), ExitStack() as stack:
        hold_unread(many_large, f"/{SERVICE}/Watch", request.SerializeToString(), count, stack)
        time.sleep(3)


def test_a_batch_of_decisions_on_large_records(many_large: Server) -> None:
    decisions = [
        pb.SubmitRequest(id=f"c{n:03}", action=pb.ACTION_CORRECT, corrected_response="z" * 20_000)
        for n in range(10, 200 if FULL else 60)
    ]
    with Judged(many_large, f"{len(decisions)} decisions on records of 2 MB"):
        batch = many_large.stub.BatchSubmit(pb.BatchSubmitRequest(decisions=decisions), timeout=100)
        assert all(result.HasField("candidate") for result in batch.results)
    # The files are some 600 MB behind, and a stop would be waited for while they catch up.
    size = len(decisions) * 2_000_000
    eventually(lambda: many_large.approved.stat().st_size > size or None, within=240)
