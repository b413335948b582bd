"""The Python client's export beside a bare stub that reads the same stream, each in a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc

from avocet_client import AsyncCorrectionsClient, CorrectionsClient
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.bench import sides
from tests.bench.dataset import write_approved
from tests.bench.results import Ratio, figure, ratio_of_rounds
from tests.bench.sides import OPTIONS, ROOT, Side
from tests.bench.stage import Stage
from tests.bench.writes import Found, run_module

LEAST_EXAMPLES = 20_000
"""A small store is exported several times in a round, so that a round has at least this many examples."""
GROWTH_MB = 16

Reading = tuple[int, float, float]
"""Examples, seconds, and by how many MB the memory's highest is above what it was after a tenth of the examples."""


def client_export(stage: Stage) -> Found:
    """`stage.size` examples through both clients, an example at a time, and through a bare stub that counts them."""
    service = _service_of_examples(stage.directory / "examples", stage.size, stage.source)
    try:
        readers = {name: lambda name=name: _in_a_process(name, service, stage.size) for name in READERS}
        # The first export after a start is slower for every reader.
        count, seconds, _ = _in_a_process("stub", service, stage.size)
        found = stage.in_turn(**readers)
    finally:
        service.stop()
    first = count / seconds
    yield figure("export, example by example", "stub, the first after a start", stage.size, "examples/s", [first])
    rates = {name: [count / seconds for count, seconds, _ in readings] for name, readings in found.items()}
    for name, values in rates.items():
        yield figure("export, example by example", name, stage.size, "examples/s", values)
    for name in ("client", "async client"):
        ratio = ratio_of_rounds(rates[name], rates["stub"])
        yield Ratio(f"export to the {name}: examples/s to a bare stub", stage.size, ratio, 0.5, at_most=False)
        growth = statistics.median(grown for _, _, grown in found[name])
        yield Ratio(f"export to the {name}: growth of its memory", stage.size, growth, GROWTH_MB, True, "MB")


def _service_of_examples(directory: Path, count: int, source: Path) -> Side:
    """The service on a store of `count` examples, running; what an earlier run prepared is used again."""
    complete = directory / "complete"
    if not complete.exists():
        shutil.rmtree(directory, ignore_errors=True)
        write_approved(directory / "data", count)
    service = sides.service(directory, source).start()
    complete.touch()
    return service


def _in_a_process(name: str, service: Side, examples: int) -> Reading:
    service.settle()
    again = max(1, LEAST_EXAMPLES // examples)
    count, seconds, grown = json.loads(run_module("tests.bench.client", ROOT, name, service.address, str(again)))
    return count, seconds, grown


def _through_stub(address: str) -> Reading:
    channel = grpc.insecure_channel(address, OPTIONS)
    stub = corrections_pb2_grpc.CorrectionsServiceStub(channel)
    stub.Stats(pb.StatsRequest())
    started, count, tenth, memory = time.perf_counter(), 0, 0.0, 0.0
    for response in stub.StreamExport(pb.StreamExportRequest()):
        tenth = tenth or response.total / 10
        count += len(response.examples)
        if not memory and count >= tenth:
            memory = _memory("VmRSS")
    return count, time.perf_counter() - started, _memory("VmHWM") - memory


def _through_client(address: str) -> Reading:
    with CorrectionsClient(address) as client:
        client.stats()
        started, count = time.perf_counter(), 0
        export = client.export()
        next(export)
        for _ in itertools.islice(export, (export.total or 0) // 10):
            count += 1
        memory = _memory("VmRSS")
        for _ in export:
            count += 1
        return count + 1, time.perf_counter() - started, _memory("VmHWM") - memory


def _through_async_client(address: str) -> Reading:
    async def read() -> Reading:
        async with AsyncCorrectionsClient(address) as client:
            await client.stats()
            started, count = time.perf_counter(), 0
            export = client.export()
            await anext(export)
            tenth = (export.total or 0) // 10
            async for _ in export:
                count += 1
                if count == tenth:
                    break
            memory = _memory("VmRSS")
            async for _ in export:
                count += 1
            return count + 1, time.perf_counter() - started, _memory("VmHWM") - memory

    return asyncio.run(read())


READERS: dict[str, Callable[[str], Reading]] = {
    "client": _through_client,
    "async client": _through_async_client,
    "stub": _through_stub,
}


def _memory(field: str) -> float:
    """A field of this process's memory, in MB."""
    fields: Iterator[Any] = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) / 1024 for words in fields if words[0] == f"{field}:")


if __name__ == "__main__":
    name, address, again = sys.argv[1:]
    readings = [READERS[name](address) for _ in range(int(again))]
    print(json.dumps([sum(r[0] for r in readings), sum(r[1] for r in readings), max(r[2] for r in readings)]))
