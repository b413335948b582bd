"""A full disk and an overloaded server, both real: the page says so, keeps the text, and goes on when it can."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.support import mounted, need
from tests.support import Server, bearer, eventually, record, write_records
from tests.web.browser_programs import Program, page_of

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("browser")]


def test_on_a_full_disk_nothing_is_lost_reading_goes_on_and_decisions_go_on_when_there_is_room(
    stopped_server: Server, tmp_path: Path
) -> None:
    need("root")
    server = stopped_server
    with mounted(server.data, "-t", "tmpfs", "-o", "size=4m", "tmpfs"):
        write_records(server.candidates, [record(f"page-{n:02d}", model_response="") for n in range(60)])
        server.start()
        eventually(lambda: server.stats().total == 60, within=30)
        with page_of(server, tmp_path) as address, Program("full.mjs", address) as reviewer:
            assert reviewer.said() == "open"
            filler = server.data / "filler"
            filled(server, filler)
            reviewer.go_on()
            where, decided, text = reviewer.said()
            assert (where, text) == ("full", "mine")
            assert reviewer.said() == ["read on", 15, True]
            approved = server.stub.ListCandidates(pb.ListCandidatesRequest(statuses=[pb.CANDIDATE_STATUS_APPROVED]))
            assert {item.id for item in approved.items} >= set(decided)
            assert sum(item.id.startswith("page-") for item in approved.items) == len(decided)
            filler.unlink()
            reviewer.go_on()
            where, discarded, is_still_told = reviewer.said()
            assert (where, is_still_told) == ("there is room", False)
            assert reviewer.said() == ["seen", [], [], []]
        candidate = server.stub.GetCandidate(pb.GetCandidateRequest(id=discarded)).candidate
        assert candidate.status == pb.CANDIDATE_STATUS_DISCARDED
        server.kill()


def filled(server: Server, filler: Path) -> None:
    """Leave no room: a file takes all that there is, and corrections take what the ledger had reserved."""
    with filler.open("wb", buffering=0) as file:
        while wrote(file):
            pass
    sent = refused = 0
    while refused < 3:
        sent += 1
        request = pb.IngestRequest(source="s", task_type="t", prompt="p" * 3_000, correction=f"c{sent}")
        try:
            server.ingest(request)
        except grpc.RpcError as error:
            assert "disk is full" in str(error)
            refused += 1


def wrote(file: Any) -> bool:
    try:
        return bool(file.write(bytes(4_096)))
    except OSError:
        return False


def test_an_overloaded_service_is_waited_for_and_the_decision_is_sent_again_by_itself(
    stopped_server: Server, tmp_path: Path
) -> None:
    server = stopped_server
    write_records(server.candidates, [record("a", model_response=""), record("b", model_response="")])
    server.environment = {"AVOCET_LIMIT": "calls=8"}
    server.start()
    eventually(lambda: server.stats().total == 2, within=30)
    with page_of(server, tmp_path) as address, Program("overloaded.mjs", address) as reviewer:
        assert reviewer.said() == "ready"
        with overloaded(server):
            reviewer.go_on()
            assert reviewer.said() == ["nothing is read", 0]
        reviewer.go_on()
        assert reviewer.said() == ["read", "a"]
        with overloaded(server):
            reviewer.go_on()
            assert reviewer.said() == ["waits", "a", "mine"]
        reviewer.go_on()
        assert reviewer.said() == ["stored", "b"]
        assert reviewer.said() == ["seen", [], [], []]
    assert dict(server.stats().by_status) == {"needs_review": 1, "approved": 1}


@contextmanager
def overloaded(server: Server) -> Iterator[None]:
    """As many calls as the server takes at once."""
    done = threading.Event()
    first = pb.StreamIngestRequest(items=[pb.IngestRequest()])

    def requests() -> Iterator[pb.StreamIngestRequest]:
        yield first
        done.wait(120)

    calls = []
    try:
        while True:
            call = server.stub.StreamIngest(requests(), metadata=bearer(), timeout=120)
            calls.append(call)
            try:
                next(call)
            except grpc.RpcError as error:
                assert "Too many calls" in str(error)
                break
        yield
    finally:
        done.set()
        for call in calls:
            call.cancel()
