"""Submit, Ingest and StreamIngest beside their floors."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench import wire
from tests.bench.results import Figure, Ratio, figure, ratio_of_rounds
from tests.bench.sides import BEARER, ROOT, SERVICE, Side
from tests.bench.stage import Stage, ingestion, submissions
from tests.bench.wire import Load

Found = Iterator[Figure | Ratio]

ONE_CALLER_CALLS = 400
IDS = 20_000
CURVE = (1, 2, 4, 8, 16, 32, 64)
WARM_UP = 20
FSYNCS = 200


def submit_one(stage: Stage) -> Found:
    """One caller with a real channel, and the floor of an empty handler plus one fsync."""
    ids = stage.queued_ids(ONE_CALLER_CALLS)
    messages = submissions(ids)

    def ours() -> list[float]:
        seconds = one_caller(stage.service, "Submit", messages)
        stage.undo(ids)
        return seconds

    found = stage.in_turn(
        ours=ours,
        floor=lambda: one_caller(stage.floor_fsync, "Submit", messages),
        disk=lambda: _fsyncs(stage.directory),
    )
    for side, rounds in found.items():
        yield figure("Submit, 1 caller", side, stage.size, "ms", _ms(itertools.chain(*rounds)))
    ratio = ratio_of_rounds(*([_median(r) for r in found[side]] for side in ("ours", "floor")))
    yield Ratio("Submit, 1 caller: time to empty handler + fsync", stage.size, ratio, 1.5, at_most=True)


def submit_many(stage: Stage) -> Found:
    """Many callers, and the floor of an empty handler."""
    yield from _against_floor(stage, stage.callers)


def submit_curve(stage: Stage) -> Found:
    """Throughput against callers."""
    for callers in (callers for callers in CURVE if callers <= 2 * stage.callers):
        yield from (f for f in _against_floor(stage, callers, "Submit by callers") if isinstance(f, Figure))


def ingest_many(stage: Stage) -> Found:
    """Many callers of Ingest, and the floor of an empty handler; h2load measures both again if it is installed."""
    message = ingestion().SerializeToString()
    witness = bool(shutil.which("h2load"))

    def load(side: Side) -> Callable[[], Load]:
        calls = itertools.repeat(message)
        return lambda: wire.run(side.address, f"{SERVICE}/Ingest", calls, stage.callers, stage.seconds, BEARER)

    found = stage.in_turn(ours=load(stage.service), floor=load(stage.floor))
    yield from _throughput(stage, f"Ingest, {stage.callers} callers", found)
    yield _floor_ratio(stage, f"Ingest, {stage.callers} callers", found)
    if witness:
        rates = stage.in_turn(ours=lambda: _h2load(stage, stage.service), floor=lambda: _h2load(stage, stage.floor))
        for side, values in rates.items():
            yield figure(f"Ingest, {stage.callers} callers, by h2load", side, stage.size, "calls/s", values)


def stream_ingest(stage: Stage) -> Found:
    """One stream of 256 items a message, unary calls by many callers, and the ledger alone."""
    unary = ingestion().SerializeToString()

    def many() -> float:
        calls = itertools.repeat(unary)
        return wire.run(stage.service.address, f"{SERVICE}/Ingest", calls, stage.callers, stage.seconds, BEARER).rate

    def ledger() -> float:
        return float(run_module("tests.bench.ledger", stage.source, str(stage.seconds)))

    found = stage.in_turn(stream=lambda: _stream(stage), unary=many, ledger=ledger)
    for side, rates in found.items():
        yield figure("StreamIngest", side, stage.size, "records/s", rates)
    to_unary = ratio_of_rounds(found["stream"], found["unary"])
    to_ledger = ratio_of_rounds(found["stream"], found["ledger"])
    yield Ratio(f"StreamIngest: records/s to {stage.callers} callers of Ingest", stage.size, to_unary, 4, at_most=False)
    yield Ratio("StreamIngest: records/s to the ledger alone", stage.size, to_ledger, 0.5, at_most=False)


def one_caller(side: Side, method: str, messages: list[bytes]) -> list[float]:
    """Seconds of each call, over a real channel that takes and gives bytes."""
    channel, seconds = side.channel(), list[float]()
    call: Any = channel.unary_unary(f"{SERVICE}/{method}")
    warm: Any = channel.unary_unary(f"{SERVICE}/Stats")
    for _ in range(WARM_UP):
        warm(b"")
    for message in messages:
        started = time.perf_counter()
        call(message)
        seconds.append(time.perf_counter() - started)
    channel.close()
    return seconds


def run_module(module: str, source: Path, *arguments: str) -> str:
    """What a module prints that runs on the code of this source tree."""
    path = os.pathsep.join((str(source), str(source / "clients" / "python"), str(ROOT)))
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, check=True)
    return done.stdout


def _against_floor(stage: Stage, callers: int, work: str = "") -> Found:
    ids = stage.queued_ids(IDS)
    messages = submissions(ids)

    def ours() -> Load:
        load = wire.run(stage.service.address, f"{SERVICE}/Submit", iter(messages), callers, stage.seconds)
        if load.failed:
            raise RuntimeError(f"{load.failed} of {len(load.seconds)} calls were refused")
        stage.undo(ids[: len(load.seconds)])
        return load

    def floor() -> Load:
        calls = itertools.cycle(messages)
        return wire.run(stage.floor.address, f"{SERVICE}/Submit", calls, callers, stage.seconds)

    found = stage.in_turn(ours=ours, floor=floor)
    yield from _throughput(stage, work or f"Submit, {callers} callers", found, at=callers if work else 0)
    yield _floor_ratio(stage, f"Submit, {callers} callers", found)


def _throughput(stage: Stage, work: str, found: dict[str, list[Load]], at: int = 0) -> Iterator[Figure]:
    for side, loads in found.items():
        yield figure(work, side, stage.size, "calls/s", [load.rate for load in loads], at)
        yield figure(work, side, stage.size, "ms", _ms(s for load in loads for s in load.seconds), at)


def _floor_ratio(stage: Stage, work: str, found: dict[str, list[Load]]) -> Ratio:
    ratio = ratio_of_rounds(*([load.rate for load in found[side]] for side in ("ours", "floor")))
    return Ratio(f"{work}: throughput to an empty handler", stage.size, ratio, 0.7, at_most=False)


def _stream(stage: Stage) -> float:
    """Records a second over one stream."""
    channel = stage.service.channel()
    message = pb.StreamIngestRequest(items=[ingestion()] * 256).SerializeToString()
    started = time.perf_counter()

    def messages() -> Iterator[bytes]:
        while time.perf_counter() - started < stage.seconds:
            yield message

    call: Any = channel.stream_stream(f"{SERVICE}/StreamIngest")
    responses = list(call(messages(), metadata=BEARER))
    elapsed = time.perf_counter() - started
    channel.close()
    results = [result for response in responses for result in pb.StreamIngestResponse.FromString(response).results]
    assert all(result.created for result in results)
    return len(results) / elapsed


def _h2load(stage: Stage, side: Side) -> float:
    body = stage.directory / "ingest.body"
    body.write_bytes(wire.grpc_body(ingestion().SerializeToString()))
    headers = {"content-type": "application/grpc", "te": "trailers"} | dict(BEARER)
    command = [
        "h2load", f"--clients={stage.callers}", "--max-concurrent-streams=1", f"--duration={ceil(stage.seconds)}",
        f"--data={body}", *(f"--header={name}: {value}" for name, value in headers.items()),
        f"http://{side.address}{SERVICE}/Ingest",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finished = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", said)
    assert finished, said
    return float(finished[1])


def _fsyncs(directory: Path) -> list[float]:
    """Seconds of each fsync of 4 KB more."""
    path, seconds = directory / "fsync.bench", list[float]()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for _ in range(FSYNCS):
        os.write(descriptor, b"x" * 4096)
        started = time.perf_counter()
        os.fsync(descriptor)
        seconds.append(time.perf_counter() - started)
    os.close(descriptor)
    path.unlink()
    return seconds


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _ms(seconds: Any) -> list[float]:
    return [1000 * s for s in seconds]
