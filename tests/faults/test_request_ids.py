"""The same request_id in parallel, after a restart, after a kill, after a lost answer: stored once, answered alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.acks import Acks, Change, State
from tests.faults.check import check, get
from tests.faults.load import Caller, Load, candidates, ingest_request, ingested
from tests.faults.proxy import Proxy
from tests.faults.support import rounds
from tests.support import Server, bearer, eventually, failure_of, write_records


@pytest.fixture
def busy(victim: Server, acks: Acks) -> Server:
    write_records(victim.candidates, made := candidates(200))
    acks.add(made)
    return victim.start()


def test_calls_of_one_request_id_in_parallel_are_stored_once_and_answered_alike(busy: Server, acks: Acks) -> None:
    callers = [Caller(acks, busy.address) for _ in range(8)]
    for number in range(rounds(short=5, whole=200)):
        request = ingest_request(f"parallel-{number}")
        with ThreadPoolExecutor(8) as threads:

            def send(caller: Caller, request: pb.IngestRequest = request) -> Any:
                return caller.stub.Ingest(request, metadata=bearer(), timeout=30)

            answers = list(threads.map(send, callers))
        assert len({answer.id for answer in answers}) == 1
        assert [answer.created for answer in answers].count(True) == 1
        change = Change("ingest", "ingestion-secret", request, State("approved"))
        acks.acknowledge_new(change, [ingested(request, answers[0].id)])
    check(acks, busy)


def test_what_was_acknowledged_is_answered_alike_after_a_kill_and_a_restart_and_not_stored_again(
    busy: Server, acks: Acks
) -> None:
    with Load(acks, busy.address) as load:
        load.wait_for(100)
        busy.process.kill()
        busy.ended()
    check(acks, busy.start())
    for code in (-9, 0):
        again_is_alike(busy, acks)
        busy.process.kill() if code else busy.process.terminate()
        assert busy.ended() == code
        check(acks, busy.start(), asked=1_000)
    again_is_alike(busy, acks)
    check(acks, busy, asked=1_000)


def again_is_alike(server: Server, acks: Acks) -> None:
    """Send each acknowledged change again: the answer is the first one, and other content is refused."""
    caller = Caller(acks, server.address)
    sent = [(known, change) for known in acks.known.values() for change in known.changes]
    assert len(sent) >= 100
    for known, change in sent:
        answer = caller.send(change)
        if change.action == "ingest":
            assert (answer.id, answer.created) == (known.id, False)
            continue
        assert (answer.candidate.id, answer.candidate.revision) == (known.id, change.after.revision)
        other = type(change.request)()
        other.CopyFrom(change.request)
        other.reviewer = "somebody else"
        failure = failure_of(
            lambda change=change, other=other: caller.send(Change(change.action, "", other, change.after))
        )
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request_id"])
    caller.close()


def test_a_change_whose_answer_was_lost_is_found_again_by_its_request_id(busy: Server, acks: Acks) -> None:
    for _ in range(rounds(short=2, whole=50)):
        lose_one_answer(busy, acks)
    check(acks, busy, asked=1_000)


def lose_one_answer(server: Server, acks: Acks) -> None:
    """Decide by way of a proxy that swallows the answer, then ask again without it."""
    known = acks.take(in_review=True)
    assert known is not None
    with Proxy(server.address) as proxy:
        caller = Caller(acks, proxy.address)
        assert caller.ingest()
        proxy.lose_answers()
        with ThreadPoolExecutor(1) as thread:
            call = thread.submit(caller.submit, "correct", known)
            eventually(lambda: get(server, known.id).status == pb.CANDIDATE_STATUS_APPROVED)
            proxy.cut()
            assert call.result(timeout=30) is False
        assert proxy.lost_bytes > 0 and known.doubt is not None
        caller.close()
    change, known.doubt = known.doubt, None
    again = Caller(acks, server.address)
    acks.acknowledge(known, change, again.send(change).candidate.revision)
    again.close()
