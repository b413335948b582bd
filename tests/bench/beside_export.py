"""A reviewer beside an export at full speed: `python -m tests.bench.beside_export`.

One reviewer pages and decides, one call after the other, alone and then beside a program that exports everything over
and over; in turn, in the same run. Both are processes of their own, as they are in life.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.console import Console
from rich.table import Table

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.support import ROOT, Server, record, temporary_directory

AT_MOST = 5.0
"""How many times the reviewer's p99 alone it may be beside the export."""
EXPORTER = """
import sys
import grpc
from avocet_client.v1 import corrections_pb2 as pb, corrections_pb2_grpc
stub = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel(sys.argv[1]))
while True:
    total = sum(len(response.examples) for response in stub.StreamExport(pb.StreamExportRequest()))
    print(total, flush=True)
"""

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    examples: Annotated[int, typer.Option(help="How many examples there are to export.")] = 100_000,
    seconds: Annotated[float, typer.Option(help="Of one round, alone or beside.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="How often each is measured, in turn.")] = 5,
) -> None:
    """Measure a reviewer's p99 alone and beside an export; fail where the ratio is more than five."""
    with temporary_directory() as directory:
        server = Server(Path(directory))
        waiting = int(rounds * seconds * 2 * 2_000)
        _fill(server, examples, waiting)
        server.start(within=120)
        try:
            alone, beside, exported = _measure(server, seconds, rounds)
        finally:
            server.kill()
    ratio = statistics.median(b / a for a, b in zip(alone, beside, strict=True))
    table = Table("reviewer", "p99, ms: each round")
    table.add_row("alone", ", ".join(f"{value * 1000:.1f}" for value in alone))
    table.add_row("beside the export", ", ".join(f"{value * 1000:.1f}" for value in beside))
    console = Console()
    console.print(table)
    console.print(f"p99 beside / alone: {ratio:.1f} (at most {AT_MOST}); {exported:,.0f} examples/s meanwhile")
    raise typer.Exit(ratio > AT_MOST)


def _fill(server: Server, examples: int, waiting: int) -> None:
    changes = {"status": "approved", "corrected_response": "c" * 1_200}
    with server.candidates.open("w") as candidates, server.approved.open("w") as approved:
        for number in range(examples):
            line = json.dumps(record(f"e{number}", **changes)) + "\n"
            candidates.write(line)
            approved.write(line)
        for number in range(waiting):
            candidates.write(json.dumps(record(f"w{number}")) + "\n")


def _measure(server: Server, seconds: float, rounds: int) -> tuple[list[float], list[float], float]:
    reviewer = _Reviewer(server.address)
    reviewer.p99(1.0)
    alone, beside, exported, took = list[float](), list[float](), 0, 0.0
    for _ in range(rounds):
        alone.append(reviewer.p99(seconds))
        with _exporting(server) as exporter:
            _wait_for_an_export(exporter)
            began = time.monotonic()
            beside.append(reviewer.p99(seconds))
            took += time.monotonic() - began
        exported += _rest(exporter)
    return alone, beside, exported / took


class _Reviewer:
    """Reads the queue's first page and flags what is on it, one call after the other."""

    def __init__(self, address: str) -> None:
        self._stub = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel(address))

    def p99(self, seconds: float) -> float:
        """The 99th percentile, in seconds, of all calls in this time."""
        durations: list[float] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            page = self._stub.Queue(pb.QueueRequest(per_page=20))
            durations.append(time.perf_counter() - began)
            for item in page.items:
                began = time.perf_counter()
                self._stub.Submit(pb.SubmitRequest(id=item.id, action=pb.ACTION_FLAG))
                durations.append(time.perf_counter() - began)
        return statistics.quantiles(durations, n=100)[98]


@contextmanager
def _exporting(server: Server) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", EXPORTER, server.address]
    exporter = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield exporter
    finally:
        exporter.kill()
        exporter.wait()


def _wait_for_an_export(exporter: subprocess.Popen[str]) -> None:
    """From then on it is at full speed."""
    assert exporter.stdout is not None and int(exporter.stdout.readline())


def _rest(exporter: subprocess.Popen[str]) -> int:
    assert exporter.stdout is not None
    return sum(int(line) for line in exporter.stdout)


if __name__ == "__main__":
    app()
