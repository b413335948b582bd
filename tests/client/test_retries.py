"""Deadlines and retries: how often a failing server is asked, and how often a lost answer stores."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from avocet_client import AsyncCorrectionsClient, Correction, CorrectionsClient, DeadlineExceeded, TransportError
from avocet_client.service_config import TIMEOUTS
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.client.conftest import Make
from tests.client.drivers import Proxy
from tests.client.fake import METHODS, FakeServer, unavailable
from tests.support import ROOT, SECRET, Server, make_run

SHARED = ROOT / "protos/avocet/corrections/v1/service_config.json"
FIELDS: dict[str, Any] = {"source": "peregrine", "task_type": "code", "prompt": "1+1?", "correction": "2"}
READS: dict[str, Any] = {
    "ListRuns": lambda c: c.list_runs(),
    "Queue": lambda c: c.queue(),
    "GetCandidate": lambda c: c.get_candidate("a"),
    "Stats": lambda c: c.stats(),
    "GetConfig": lambda c: c.get_config(),
}
WRITES: dict[str, Any] = {
    "Submit": lambda c: c.submit("a", action="flag"),
    "Undo": lambda c: c.undo("a"),
    "Ingest": lambda c: c.ingest(**FIELDS),
}
WITHOUT_REQUEST_ID: dict[str, Any] = {
    "Import": lambda c: c.import_run("x"),
    "SetConfig": lambda c: c.set_config(bench_results_dir=""),
}
UNARY = READS | WRITES | WITHOUT_REQUEST_ID


@pytest.fixture
def failing() -> Iterator[FakeServer]:
    server = FakeServer(unavailable)
    yield server
    server.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy(server.address)
    yield made
    made.close()


def test_more_calls_at_once_than_a_connection_may_have_are_all_answered(server: Server) -> None:
    async def ask() -> list[pb.StatsResponse]:
        async with AsyncCorrectionsClient(server.address) as client:
            return await asyncio.gather(*[client.stats() for _ in range(600)])

    # gRPC's server refuses some that come in the instant in which others end.
    assert len(asyncio.run(ask())) == 600


def test_the_packages_service_config_is_the_shared_one() -> None:
    assert (ROOT / "clients/python/avocet_client/v1/service_config.json").read_bytes() == SHARED.read_bytes()


def test_every_method_has_a_deadline() -> None:
    assert set(TIMEOUTS) == {method.name for method in METHODS}
    assert all(seconds > 0 for seconds in TIMEOUTS.values())


@pytest.mark.parametrize("method", UNARY)
def test_reads_and_writes_with_a_request_id_are_tried_four_times(
    make_client: Make, failing: FakeServer, method: str
) -> None:
    with pytest.raises(TransportError) as caught:
        UNARY[method](make_client(failing.address))
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert failing.attempts == {method: 1 if method in WITHOUT_REQUEST_ID else 4}
    if method in WRITES:
        ids = {request.request_id for request in failing.requests}
        assert ids == {caught.value.request_id} != {""}


def test_a_large_write_is_tried_as_often(make_client: Make, failing: FakeServer) -> None:
    with pytest.raises(TransportError):
        make_client(failing.address).submit("a", action="correct", corrected_response="x" * 4_000_000)
    assert failing.attempts == {"Submit": 4}


def test_a_bare_stub_with_the_shared_config_retries_reads_alone(failing: FakeServer) -> None:
    options = [("grpc.service_config", SHARED.read_text())]
    with grpc.insecure_channel(failing.address, options) as channel:
        stub = corrections_pb2_grpc.CorrectionsServiceStub(channel)
        requests = {"Stats": pb.StatsRequest(), "Submit": pb.SubmitRequest(), "Import": pb.ImportRequest()}
        for method, request in requests.items():
            with pytest.raises(grpc.RpcError):
                getattr(stub, method)(request)
    assert failing.attempts == {"Stats": 4, "Submit": 1, "Import": 1}


def test_a_lost_answer_is_asked_for_again_and_stored_once(make_client: Make, server: Server, proxy: Proxy) -> None:
    client = make_client(proxy.address, token=SECRET)
    client.stats()
    for number in range(3):
        proxy.lose_answers(1)
        response = client.ingest(**FIELDS | {"prompt": f"prompt {number}"})
        assert not response.created, "the first attempt had stored it"
    assert proxy.lost == 3
    assert server.stats().export_ready == 3


def test_lost_answers_of_decisions_are_asked_for_again(make_client: Make, server: Server, proxy: Proxy) -> None:
    (made,) = make_run(server.runs, "one", count=1)
    server.set_runs_directory()
    client = make_client(proxy.address, token=SECRET)
    client.import_run("one")
    proxy.lose_answers(1)
    decided = client.submit(made["id"], action="correct", corrected_response="better")
    proxy.lose_answers(1)
    undone = client.undo(made["id"])
    assert proxy.lost == 2
    assert decided.revision < undone.revision == server.stats().revision


def test_a_bulk_ingest_whose_answers_are_lost_stores_each_once(make_client: Make, server: Server, proxy: Proxy) -> None:
    client = make_client(proxy.address, token=SECRET)
    client.stats()

    def corrections() -> Iterator[Correction]:
        for number in range(3_000):
            if number % 900 == 800:
                proxy.lose_answers(1)
            yield Correction(**FIELDS | {"prompt": f"prompt {number}"})

    results = list(client.ingest_many(corrections()))
    assert proxy.lost >= 3
    assert [result.index for result in results] == list(range(3_000))
    assert [result.correction.prompt for result in results] == [f"prompt {number}" for number in range(3_000)]
    assert not any(result.error for result in results)
    assert len({result.id for result in results}) == server.stats().export_ready == 3_000
    assert not all(result.created for result in results), "something was stored whose answer was lost"


def slow(name: str, request: Any, context: Any) -> Any:
    time.sleep(0.3)
    return pb.StatsResponse() if name == "Stats" else context.abort(grpc.StatusCode.UNIMPLEMENTED, "no")


def test_a_deadline_is_the_methods_own_unless_the_call_states_one(make_client: Make) -> None:
    seen: list[float] = []

    def behave(name: str, request: Any, context: Any) -> Any:
        seen.append(context.time_remaining())
        return pb.StatsResponse() if name == "Stats" else pb.SubmitResponse()

    server = FakeServer(behave)
    client = make_client(server.address)
    client.stats()
    client.stats(timeout=1_000)
    client.submit("a", action="flag")
    client.submit("a", action="flag", timeout=3)
    server.close()
    for stated, had in zip([10, 1_000, 20, 3], seen, strict=True):
        assert stated - 2 < had <= stated * 1.02, "gRPC rounds it on the wire"


def test_an_answer_that_is_late_is_an_error_of_its_own(make_client: Make) -> None:
    server = FakeServer(slow)
    with pytest.raises(DeadlineExceeded) as caught:
        make_client(server.address).stats(timeout=0.05)
    server.close()
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_peer_that_fell_silent_is_noticed_by_keepalive(make_client: Make, server: Server, proxy: Proxy) -> None:
    quick = (
        ("grpc.keepalive_time_ms", 1_000),
        ("grpc.keepalive_timeout_ms", 500),
        ("grpc.http2.ping_timeout_ms", 500),
    )
    client = make_client(proxy.address, options=quick)
    client.stats()
    proxy.fall_silent()
    with pytest.raises(TransportError) as caught:
        client.import_run("x", timeout=60)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE, "the connection was given up, not the call's deadline"


def test_many_threads_share_a_client(server: Server) -> None:
    with CorrectionsClient(server.address, token=SECRET) as client:
        made: list[str] = []

        def ingest(number: int) -> None:
            made.append(client.ingest(**FIELDS | {"prompt": f"prompt {number}"}).id)

        threads = [threading.Thread(target=ingest, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(made)) == 16
