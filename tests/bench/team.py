"""Reviewing as a team: Claim beside Queue, lists by token, and very many watches."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.bench.results import Ratio, figure
from tests.bench.sides import SERVICE, Side
from tests.bench.stage import Stage
from tests.bench.usage import cpu_nanoseconds
from tests.bench.writes import WARM_UP, Found, one_caller

CLAIMED = 1_000
ITEMS = 50
CALLS = 40
LIST_CALLS = 300
CHANGES = 40
"""Changes of the id whose history is listed."""
WATCHES = 1_000
WATCHES_A_CHANNEL = 200
IDLE_S = 20.0
UNREAD = 600
"""Candidates that are flagged and put back: more changes than those who follow them can share."""
TO_QUEUE = 1.3
IDLE_PERCENT = 5.0
UNREAD_MB = 250


def claims(stage: Stage) -> Found:
    """Claim of 50, while 1,000 others are claimed, beside a Queue of 50 that nobody holds."""
    stub = stage.service.stub()
    count = min(CLAIMED, stage.size // 4)
    with _claimed(stub, count):
        queue = pb.QueueRequest(per_page=ITEMS, claims=pb.CLAIM_STATE_UNCLAIMED).SerializeToString()
        found = stage.in_turn(
            claim=lambda: _claim_seconds(stage.service, stub),
            queue=lambda: one_caller(stage.service, "Queue", [queue] * CALLS),
        )
    for side, rounds in found.items():
        yield figure(f"{side.title()} of {ITEMS}", "ours", stage.size, "ms", _ms(itertools.chain(*rounds)))
    ratio = statistics.median(_median(a) / _median(b) for a, b in zip(found["claim"], found["queue"], strict=True))
    name = f"Claim of {ITEMS}, {CLAIMED:,} claimed: time to Queue of {ITEMS}"
    yield Ratio(name, stage.size, ratio, TO_QUEUE, at_most=True)


def lists(stage: Stage) -> Found:
    """ListHistory of one id, and a page of ListCandidates by token from the middle."""
    works = {"ListHistory of one id": _history(stage), "ListCandidates by token": _middle(stage)}
    for work, (method, message) in works.items():
        seconds = stage.in_turn(ours=lambda m=method, r=message: one_caller(stage.service, m, [r] * LIST_CALLS))["ours"]
        yield figure(work, "ours", stage.size, "ms", _ms(itertools.chain(*seconds)))


def watches(stage: Stage) -> Found:
    """What 1,000 watches cost that have nothing to tell, and 1,000 that nobody reads."""
    service = stage.service
    service.settle()
    idle_before, _ = service.memory()
    with _watching(service, pb.WatchRequest()) as calls:
        for call in calls:
            next(call)
        time.sleep(1)
        began, used = time.perf_counter(), sum(cpu_nanoseconds(service.pid).values())
        time.sleep(min(IDLE_S, 10 * stage.seconds))
        spent = (sum(cpu_nanoseconds(service.pid).values()) - used) / 1e9
        percent = 100 * spent / (time.perf_counter() - began)
        memory = service.memory()[0] - idle_before
    yield figure(f"{WATCHES:,} idle watches: CPU", "ours", stage.size, "%", [percent])
    yield figure(f"{WATCHES:,} idle watches: memory", "ours", stage.size, "MB", [max(memory, 0.1)])
    yield Ratio(f"{WATCHES:,} idle watches: CPU of one core", stage.size, percent, IDLE_PERCENT, True, "%")
    start = service.stub().Stats(pb.StatsRequest()).revision
    ids = stage.queued_ids(UNREAD)
    flags = [pb.SubmitRequest(id=id, action=pb.ACTION_FLAG) for id in ids]
    for first in range(0, len(ids), 300):
        service.stub().BatchSubmit(pb.BatchSubmitRequest(decisions=flags[first : first + 300]))
    stage.undo(ids)
    service.stop()
    service.start()
    service.settle()
    before, _ = service.memory()
    with _watching(service, pb.WatchRequest(since_revision=start, include_candidates=True)):
        time.sleep(5)
        service.settle()
        unread = service.memory()[0] - before
    yield figure(f"{WATCHES:,} watches that nobody reads: memory", "ours", stage.size, "MB", [max(unread, 0.1)])
    yield Ratio(f"{WATCHES:,} watches that nobody reads: memory", stage.size, unread, UNREAD_MB, True, "MB")


@contextmanager
def _claimed(stub: Any, count: int) -> Iterator[None]:
    """So many candidates are claimed, by reviewers who hold 50 each."""
    leases = list[str]()
    while len(leases) < count:
        request = pb.ClaimRequest(reviewer=f"holder-{len(leases)}", limit=ITEMS, lease_seconds=3_600)
        leases += [claim.lease_id for claim in stub.Claim(request).claims]
    try:
        yield
    finally:
        for first in range(0, len(leases), 500):
            stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=leases[first : first + 500]))


def _claim_seconds(side: Side, stub: Any) -> list[float]:
    """Seconds of each Claim; what it took is released, which is not measured."""
    channel, seconds = side.channel(), list[float]()
    call: Any = channel.unary_unary(f"{SERVICE}/Claim")
    message = pb.ClaimRequest(reviewer="ann", limit=ITEMS).SerializeToString()
    for number in range(WARM_UP + CALLS):
        started = time.perf_counter()
        answer = call(message)
        elapsed = time.perf_counter() - started
        seconds += [elapsed] if number >= WARM_UP else []
        leases = [claim.lease_id for claim in pb.ClaimResponse.FromString(answer).claims]
        assert len(leases) == ITEMS
        stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=leases))
    channel.close()
    return seconds


def _history(stage: Stage) -> tuple[str, bytes]:
    stub = stage.service.stub()
    (id,) = stage.queued_ids(1)
    for _ in range(CHANGES // 2):
        stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_FLAG))
        stub.Undo(pb.UndoRequest(id=id))
    return "ListHistory", pb.ListHistoryRequest(id=id, page_size=20).SerializeToString()


def _middle(stage: Stage) -> tuple[str, bytes]:
    """The request for the page behind a token from about the middle of the store."""
    stub = stage.service.stub()
    statuses = [pb.CANDIDATE_STATUS_NEEDS_REVIEW, pb.CANDIDATE_STATUS_APPROVED]
    token = ""
    for _ in range(max(1, min(20, stage.size // 1_000))):
        request = pb.ListCandidatesRequest(page_size=500, page_token=token, statuses=statuses)
        token = stub.ListCandidates(request).next_page_token
    return "ListCandidates", pb.ListCandidatesRequest(page_token=token, statuses=statuses).SerializeToString()


@contextmanager
def _watching(side: Side, request: pb.WatchRequest) -> Iterator[list[Any]]:
    """Calls of Watch; nobody reads them unless the caller does."""
    channels = [side.channel() for _ in range(WATCHES // WATCHES_A_CHANNEL)]
    stubs = [corrections_pb2_grpc.CorrectionsServiceStub(channel) for channel in channels]
    calls = [stub.Watch(request) for stub in stubs for _ in range(WATCHES_A_CHANNEL)]
    try:
        yield calls
    finally:
        for call in calls:
            call.cancel()
        for channel in channels:
            channel.close()


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _ms(seconds: Any) -> list[float]:
    return [1000 * s for s in seconds]
