"""Calls with a filter beside the same without one, and each kind of export beside prepared batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench.results import Ratio, figure
from tests.bench.sides import SERVICE, Side
from tests.bench.stage import Stage
from tests.bench.writes import Found, one_caller

CALLS = 40
KINDS: dict[str, Any] = {"Queue": pb.QueueRequest, "Stats": pb.StatsRequest}
TO_UNFILTERED = 2
RANGE_MS = 50
FIRST_MS = 20
FILTERS = {
    "a task type, a third": pb.CandidateFilter(task_types=["code"]),
    "a run": pb.CandidateFilter(benchmark_run_ids=["2026-01-01-120000"]),
    "nothing": pb.CandidateFilter(task_types=["none"]),
}
RANGE = pb.CandidateFilter(min_quality_score=0.2, max_quality_score=0.4)
EXPORTS = {
    "whole": (pb.StreamExportRequest(), 0.7),
    "quality": (pb.StreamExportRequest(filter=pb.CandidateFilter(min_quality_score=0.2)), 0.7),
    "split": (pb.StreamExportRequest(split=pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=0.1)), 0.7),
    "filter": (pb.StreamExportRequest(filter=FILTERS["a task type, a third"]), 0.6),
    "shard": (pb.StreamExportRequest(shard_index=1, shard_count=4), 0.5),
}
"""What is asked, and its rate against prepared batches after a start."""
NEW = 5


def filters(stage: Stage) -> Found:
    """Queue's first page and Stats, with and without a filter."""
    for method, kind in KINDS.items():
        asked = {"": kind()} | {name: kind(filter=filter) for name, filter in FILTERS.items()}
        works = {name: partial(_median_ms, stage, method, message) for name, message in asked.items()}
        found = stage.in_turn(**works)
        for name, values in found.items():
            yield figure(f"{method}, filter: {name or 'none'}", "ours", stage.size, "ms", values)
            if name:
                ratio = statistics.median(found[name]) / statistics.median(found[""])
                yield Ratio(f"{method}, filter: {name}: to none", stage.size, ratio, TO_UNFILTERED, at_most=True)
        ranged = stage.in_turn(ours=partial(_median_ms, stage, method, kind(filter=RANGE)))["ours"]
        yield Ratio(
            f"{method}, a range of quality", stage.size, statistics.median(ranged), RANGE_MS, at_most=True, unit="ms"
        )


def exports(stage: Stage) -> Found:
    """The first message, and the rate, of each kind; the rate is of the first one after a start."""
    for name, (request, target) in EXPORTS.items():
        rates, prepared = list[float](), list[float]()
        for _ in range(stage.rounds):
            stage.service.stop()
            stage.service.start()
            stage.service.settle()
            rates.append(_rate(stage.service, request.SerializeToString()))
            prepared.append(_rate(stage.floor, b""))
        yield figure(f"StreamExport, {name}, first after a start", "ours", stage.size, "examples/s", rates)
        ratio = statistics.median(ours / floor for ours, floor in zip(rates, prepared, strict=True))
        yield Ratio(f"StreamExport, {name}: to prepared batches", stage.size, ratio, target, at_most=False)
        yield from _first(stage, name, request)
    since = stage.service.stub().Stats(pb.StatsRequest()).revision
    _approve(stage, stage.queued_ids(NEW))
    yield from _first(stage, f"{NEW} new", pb.StreamExportRequest(since_revision=since))


def _first(stage: Stage, name: str, request: pb.StreamExportRequest) -> Found:
    values = stage.in_turn(ours=lambda: 1000 * _seconds_to_first(stage.service, request.SerializeToString()))["ours"]
    yield figure(f"StreamExport, {name}, first message", "ours", stage.size, "ms", values)
    median = statistics.median(values)
    yield Ratio(f"StreamExport, {name}: first message", stage.size, median, FIRST_MS, at_most=True, unit="ms")


def _median_ms(stage: Stage, method: str, message: Any) -> float:
    return 1000 * statistics.median(one_caller(stage.service, method, [message.SerializeToString()] * CALLS))


def _approve(stage: Stage, ids: Iterable[str]) -> None:
    stub = stage.service.stub()
    for id in ids:
        stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_CORRECT, corrected_response="x", reviewer="ann"))


def _rate(side: Side, request: bytes) -> float:
    """Examples a second of one export."""
    channel, count = _warm(side), 0
    started = time.perf_counter()
    call: Any = channel.unary_stream(f"{SERVICE}/StreamExport")
    for response in call(request):
        count += len(pb.StreamExportResponse.FromString(response).examples)
    seconds = time.perf_counter() - started
    channel.close()
    return count / seconds


def _seconds_to_first(side: Side, request: bytes) -> float:
    channel = _warm(side)
    started = time.perf_counter()
    call: Any = channel.unary_stream(f"{SERVICE}/StreamExport")
    responses = call(request)
    next(iter(responses))
    seconds = time.perf_counter() - started
    responses.cancel()
    channel.close()
    return seconds


def _warm(side: Side) -> Any:
    channel = side.channel()
    stats: Any = channel.unary_unary(f"{SERVICE}/Stats")
    stats(b"")
    return channel
