"""What an operation costs the server in CPU, by process and thread, and in bytes written; beside an empty handler."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench import wire
from tests.bench.results import Figure, Ratio, figure
from tests.bench.sides import BEARER, SERVICE, Side
from tests.bench.stage import Stage, ingestion, submissions
from tests.bench.usage import cpu_nanoseconds, written_bytes
from tests.bench.writes import IDS, Found

SUBMIT, INGEST, QUEUE, ITEM = "Submit", "Ingest", "Queue of 20", "StreamIngest, an item"
TARGETS = {SUBMIT: 2.6, INGEST: 2.2, QUEUE: 2.2, ITEM: 0.6}
"""Server CPU of one operation by that of an empty unary call of the same run."""
WRITTEN_KB = 40
ITEMS = 256
MESSAGES = 40


def cpu(stage: Stage) -> Found:
    """Submit, Ingest and Queue by many callers, and the items of a StreamIngest."""
    page = pb.QueueRequest().SerializeToString()
    item = ingestion().SerializeToString()
    empty = _spent(stage, stage.floor, lambda: _calls(stage, stage.floor, "Ingest", itertools.repeat(item)))
    yield _all("empty call", "floor", stage, empty)
    floor = statistics.median(sum(each.values()) for each in empty)
    submits = _Submits(stage)
    works: dict[str, Callable[[], int]] = {
        SUBMIT: submits.run,
        INGEST: lambda: _calls(stage, stage.service, "Ingest", itertools.repeat(item)),
        QUEUE: lambda: _calls(stage, stage.service, "Queue", itertools.repeat(page)),
        ITEM: lambda: _stream(stage),
    }
    for work, run in works.items():
        spent = _spent(stage, stage.service, run)
        submits.undo()
        yield _all(work, "ours", stage, spent)
        for part in sorted({part for each in spent for part in each}):
            yield figure(f"{work}: CPU", part, stage.size, "us", [each.get(part, 0.0) for each in spent])
        whole = statistics.median(sum(each.values()) for each in spent)
        yield Ratio(f"{work}: server CPU to an empty call's", stage.size, whole / floor, TARGETS[work], at_most=True)
    yield figure("Submit: written to disk", "ours", stage.size, "KB", submits.written)
    yield Ratio(
        "Submit: bytes written to disk",
        stage.size,
        statistics.median(submits.written),
        WRITTEN_KB,
        at_most=True,
        unit="KB",
    )


def _all(work: str, side: str, stage: Stage, spent: list[dict[str, float]]) -> Figure:
    return figure(f"{work}: CPU", f"{side}, all", stage.size, "us", [sum(each.values()) for each in spent])


def _spent(stage: Stage, side: Side, run: Callable[[], int]) -> list[dict[str, float]]:
    """Microseconds of CPU an operation by process and thread, a round each; `run` gives the number of operations."""
    rounds = list[dict[str, float]]()
    for _ in range(stage.rounds):
        side.settle()
        before = cpu_nanoseconds(side.pid)
        count = run()
        side.settle()
        used = cpu_nanoseconds(side.pid) - before
        rounds.append({part: ns / count / 1000 for part, ns in used.items()})
    return rounds


def _calls(stage: Stage, side: Side, method: str, messages: Any) -> int:
    load = wire.run(side.address, f"{SERVICE}/{method}", iter(messages), stage.callers, stage.seconds, BEARER)
    if load.failed:
        raise RuntimeError(f"{load.failed} of {len(load.seconds)} calls of {method} were refused")
    return len(load.seconds)


class _Submits:
    """Decisions, of other candidates in each round, and the KB that each has written to disk."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ids = stage.queued_ids(IDS * stage.rounds)
        self._share = len(self._ids) // stage.rounds
        self._round, self._decided = 0, list[str]()
        self.written: list[float] = []

    def run(self) -> int:
        """One round."""
        service = self._stage.service
        start = self._round * self._share
        before = written_bytes(service.pid)
        count = _calls(self._stage, service, SUBMIT, submissions(self._ids[start : start + self._share]))
        service.settle()
        self.written.append((written_bytes(service.pid) - before) / count / 1024)
        self._decided += self._ids[start : start + count]
        self._round += 1
        return count

    def undo(self) -> None:
        """Put back in review what was decided."""
        self._stage.undo(self._decided)
        self._decided = []


def _stream(stage: Stage) -> int:
    channel = stage.service.channel()
    message = pb.StreamIngestRequest(items=[ingestion()] * ITEMS).SerializeToString()
    call: Any = channel.stream_stream(f"{SERVICE}/StreamIngest")
    responses = list(call(iter([message] * MESSAGES), metadata=BEARER))
    channel.close()
    return sum(len(pb.StreamIngestResponse.FromString(response).results) for response in responses)
