"""Queue, Stats and StreamExport beside their floors."""

from __future__ import annotations

import itertools
import time
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench.results import Ratio, figure, ratio_of_rounds
from tests.bench.sides import SERVICE, Side
from tests.bench.stage import Stage
from tests.bench.writes import Found, one_caller

CALLS = 300
BATCHES = (1, 8, 32, 64, 128, 256, 512, 1000)
LEAST_EXAMPLES = 20_000
"""A small store is exported several times in a round, so that a round has at least this many examples."""
ONE_BY_ONE = 5_000


def stats(stage: Stage) -> Found:
    """Stats without a filter."""
    yield from _read(stage, "Stats", {"Stats": b""}, 2)


def queue(stage: Stage) -> Found:
    """A page of 20: the first, and one by token in the middle of the queue."""
    works = {"Queue, first page": b"", "Queue, by token": _in_the_middle(stage)}
    yield from _read(stage, "Queue", works, 3)


def export(stage: Stage) -> Found:
    """The whole export to a bare stub, and a stream of the same bytes, prepared."""
    again = max(1, LEAST_EXAMPLES // _examples(stage))
    stage.service.stop()
    stage.service.start()
    cold = _examples_per_second([_whole(stage.service)])
    yield figure("StreamExport, the first after a start", "ours", stage.size, "examples/s", [cold])

    def load(side: Side) -> float:
        return _examples_per_second([_whole(side) for _ in range(again)])

    found = stage.in_turn(ours=lambda: load(stage.service), floor=lambda: load(stage.floor))
    for side, rates in found.items():
        yield figure("StreamExport", side, stage.size, "examples/s", rates)
    ratio = ratio_of_rounds(found["ours"], found["floor"])
    yield Ratio("StreamExport: examples/s to prepared batches", stage.size, ratio, 0.7, at_most=False)
    firsts = stage.in_turn(ours=lambda: [_first(stage.service) for _ in range(5)])["ours"]
    first = figure(
        "StreamExport, first example", "ours", stage.size, "ms", [1000 * s for s in itertools.chain(*firsts)]
    )
    yield first
    yield Ratio("StreamExport: first example", stage.size, first.median, 50, at_most=True, unit="ms")


def export_curve(stage: Stage) -> Found:
    """Examples a second against the batch size."""
    for size in BATCHES:
        most = ONE_BY_ONE if size < 32 else 10 * ONE_BY_ONE
        rates = stage.in_turn(ours=lambda s=size, m=most: _examples_per_second([_whole(stage.service, s, m)]))["ours"]
        yield figure("StreamExport by batch size", "ours", stage.size, "examples/s", rates, at=size)


def _read(stage: Stage, method: str, works: dict[str, bytes], target: float) -> Found:
    sides = {work: lambda m=m: one_caller(stage.service, method, [m] * CALLS) for work, m in works.items()}
    found = stage.in_turn(floor=lambda: one_caller(stage.floor, method, [b""] * CALLS), **sides)
    for side, rounds in found.items():
        work = next(iter(works)) if side == "floor" else side
        name = "floor" if side == "floor" else "ours"
        yield figure(work, name, stage.size, "ms", [1000 * s for s in itertools.chain(*rounds)])
    for work in works:
        ratio = ratio_of_rounds(*([sorted(r)[len(r) // 2] for r in found[side]] for side in (work, "floor")))
        yield Ratio(f"{work}: time to an empty handler of as many bytes", stage.size, ratio, target, at_most=True)


def _in_the_middle(stage: Stage) -> bytes:
    """The request for the page that a token in the middle of the queue gives."""
    stub = stage.service.stub()
    total = stub.Queue(pb.QueueRequest(per_page=1)).total
    page = stub.Queue(pb.QueueRequest(per_page=1, page=max(1, total // 2)))
    return pb.QueueRequest(per_page=0, page_token=page.next_page_token).SerializeToString()


def _examples(stage: Stage) -> int:
    return next(iter(stage.service.stub().StreamExport(pb.StreamExportRequest(batch_size=1)))).total


def _whole(side: Side, batch_size: int = 0, most: int = 1 << 60) -> tuple[int, float]:
    """Examples and seconds of one export, read by the generated stub."""
    stub, count = side.stub(), 0
    stub.Stats(pb.StatsRequest())
    started = time.perf_counter()
    call: Any = stub.StreamExport(pb.StreamExportRequest(batch_size=batch_size))
    for response in call:
        count += len(response.examples)
        if count >= most:
            call.cancel()
            break
    return count, time.perf_counter() - started


def _examples_per_second(exports: list[tuple[int, float]]) -> float:
    return sum(count for count, _ in exports) / sum(seconds for _, seconds in exports)


def _first(side: Side) -> float:
    """Seconds to the first example, on a channel that is open already."""
    channel = side.channel()
    warm: Any = channel.unary_unary(f"{SERVICE}/Stats")
    warm(b"")
    started = time.perf_counter()
    export: Any = channel.unary_stream(f"{SERVICE}/StreamExport")
    call = export(b"")
    next(iter(call))
    seconds = time.perf_counter() - started
    call.cancel()
    channel.close()
    return seconds
