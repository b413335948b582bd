"""A reviewer's decisions alone, beside an export that runs over and over, and beside a large import.

The reviewer makes one call after the other. The other caller is a process of its own, as it is in life:
`python -m tests.bench.beside ADDRESS export` or `... import COUNT RUN_ID`.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.bench.dataset import lines
from tests.bench.results import Ratio, figure, p99
from tests.bench.sides import OPTIONS, ROOT, SERVICE
from tests.bench.stage import Stage, submissions
from tests.bench.writes import Found

IMPORTED = 100_000
LINES_A_MESSAGE = 1_000
CALLS_A_SECOND = 1_500
"""More than one caller makes, so that there are ids enough."""
TO_ALONE = 3
BESIDE_IMPORT_MS = 50
WORK = "Submit, 1 caller"


def beside(stage: Stage) -> Found:
    """The p99 of Submit, and how far the others got meanwhile."""
    found = stage.in_turn(alone=partial(_decide, stage), exporting=partial(_beside_export, stage))
    alone, exporting = found["alone"], [seconds for seconds, _ in found["exporting"]]
    yield figure(f"{WORK}, alone", "ours", stage.size, "ms", _ms(alone))
    yield figure(f"{WORK}, beside an export", "ours", stage.size, "ms", _ms(exporting))
    rates = [rate for _, rate in found["exporting"]]
    yield figure("StreamExport, beside Submit", "ours", stage.size, "examples/s", rates)
    ratio = statistics.median(p99(b) / p99(a) for a, b in zip(alone, exporting, strict=True))
    yield Ratio(f"{WORK}, beside an export: p99 to alone", stage.size, ratio, TO_ALONE, at_most=True)

    count = min(IMPORTED, max(LINES_A_MESSAGE, 5 * stage.size))
    importing, rate = _beside_import(stage, count)
    yield figure(f"{WORK}, beside an import", "ours", stage.size, "ms", _ms([importing]))
    yield figure("UploadRun, beside Submit", "ours", stage.size, "records/s", [rate])
    name = f"{WORK}, beside an import of {count:,}: p99"
    yield Ratio(name, stage.size, 1000 * p99(importing), BESIDE_IMPORT_MS, at_most=True, unit="ms")


def _decide(stage: Stage, other: subprocess.Popen[str] | None = None) -> list[float]:
    """Seconds of each Submit: for one round's time, or as long as the other process runs."""
    ids = stage.queued_ids(round(CALLS_A_SECOND * max(1.0, stage.seconds)))
    channel, seconds = stage.service.channel(), list[float]()
    call: Any = channel.unary_unary(f"{SERVICE}/Submit")
    deadline = time.perf_counter() + stage.seconds
    ended = False
    while not ended:
        for message in submissions(ids):
            began = time.perf_counter()
            call(message)
            seconds.append(time.perf_counter() - began)
            ended = began > deadline if other is None else other.poll() is not None
            if ended:
                break
        stage.undo(ids[: len(seconds)])
        ended = ended or other is None
    channel.close()
    return seconds


def _beside_export(stage: Stage) -> tuple[list[float], float]:
    with _process(stage, "export") as exporter:
        # From the first whole one on it is at full speed.
        assert exporter.stdout is not None and int(exporter.stdout.readline())
        began = time.perf_counter()
        seconds = _decide(stage)
        # One at least, however short the round.
        exported = int(exporter.stdout.readline())
        took = time.perf_counter() - began
    return seconds, (exported + sum(int(line) for line in exporter.stdout)) / took


def _beside_import(stage: Stage, count: int) -> tuple[list[float], float]:
    run_id = f"bench-{os.getpid()}-{time.monotonic_ns()}"
    with _process(stage, "import", str(count), run_id) as importer:
        assert importer.stdout is not None and importer.stdout.readline()
        began = time.perf_counter()
        seconds = _decide(stage, importer)
        took = time.perf_counter() - began
        assert int(importer.stdout.readline()) == count
    return seconds, count / took


@contextmanager
def _process(stage: Stage, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.bench.beside", stage.service.address, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _ms(rounds: list[list[float]]) -> list[float]:
    return [1000 * seconds for seconds in itertools.chain(*rounds)]


def _export(stub: corrections_pb2_grpc.CorrectionsServiceStub) -> None:
    """Export everything over and over; print how many examples each export had."""
    while True:
        count = 0
        for response in stub.StreamExport(pb.StreamExportRequest()):
            count += len(response.examples)
        print(count, flush=True)


def _import(stub: corrections_pb2_grpc.CorrectionsServiceStub, count: int, run_id: str) -> None:
    """Upload a run; print a line when it begins, and then how many records it brought."""
    written = (line.replace('"candidate-', f'"{run_id}-', 1) for line in lines(count))
    parts = ["".join(part).encode() for part in iter(lambda: list(itertools.islice(written, LINES_A_MESSAGE)), [])]
    print("begins", flush=True)
    messages = itertools.chain(
        [pb.UploadRunRequest(run_id=run_id)], (pb.UploadRunRequest(lines=part) for part in parts)
    )
    print(stub.UploadRun(messages).imported, flush=True)


if __name__ == "__main__":
    address, what, *more = sys.argv[1:]
    service = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel(address, OPTIONS))
    if what == "export":
        _export(service)
    else:
        _import(service, int(more[0]), more[1])
