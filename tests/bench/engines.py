"""PostgreSQL as the ledger beside SQLite, and two workers beside one; the same records, in the same run."""

from __future__ import annotations

import itertools
import os
import re
import statistics
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench import sides, wire
from tests.bench.kinds import FILTERS
from tests.bench.results import Ratio, figure, ratio_of_rounds
from tests.bench.sides import BEARER, SERVICE, Side
from tests.bench.stage import Stage, submissions
from tests.bench.usage import cpu_nanoseconds
from tests.bench.writes import Found
from tests.postgres import Postgres, binaries

CALLERS = (1, 8, 32)
DECISIONS = 4_000
"""So many a second are not reached."""
FLOOR = "CREATE TABLE floor (number bigserial PRIMARY KEY, content text NOT NULL)"
TRANSACTION = "INSERT INTO floor (content) VALUES (repeat('x', 2048));\n"
"""What a decision cannot do without: one durable transaction with the record."""
TO_SQLITE, EXPORT_TO_SQLITE, TO_ONE_WORKER, TO_ONE_SERVER = 0.7, 0.8, 1.4, 0.9
TWO = "PostgreSQL, two servers"
WORKERS = 2
EXPORTERS = 8
"""So many connections that both workers have some."""
ALWAYS_READ = pb.StreamExportRequest(batch_size=256).SerializeToString()
"""Examples a batch."""
FILTERED = pb.StreamExportRequest(filter=FILTERS["a task type, a third"]).SerializeToString()


def engines(stage: Stage) -> Found:
    """Durable decisions a second, and exports; nothing where PostgreSQL is not installed."""
    if (programs := binaries()) is None:
        return
    server = Postgres(programs)
    try:
        with _over(stage, server.start()) as postgres:
            yield from _decisions(stage, server, *postgres)
            yield from _exports(stage, postgres[0])
    finally:
        server.remove()


@contextmanager
def _over(stage: Stage, server: Postgres) -> Iterator[tuple[Side, Side]]:
    """Two services over one PostgreSQL database, which has a copy of the stage's ledger."""
    from avocet_grpc.maintenance.move import move
    from avocet_grpc.store.postgres.connect import connect
    from avocet_grpc.store.postgres.migrate import migrate

    server.execute("CREATE DATABASE bench")
    server.execute(FLOOR, "bench")
    url = server.url("bench")
    with connect(url) as db:
        migrate(db)
    stage.service.stop()
    try:
        move(stage.directory / "data", url, lambda *_: None)
    finally:
        stage.service.start()
    server.execute("ANALYZE", "bench")
    flags = ["--listen", "127.0.0.1:0", "--store", url, "--config-dir", str(stage.directory / "config")]
    command, logs = ["avocet_grpc", "serve", *flags], [stage.directory / f"postgres-{n}.log" for n in (1, 2)]
    with Side(command, logs[0], stage.source) as one, Side(command, logs[1], stage.source) as other:
        yield one, other


def _decisions(stage: Stage, server: Postgres, postgres: Side, other: Side) -> Found:
    ids = stage.queued_ids(round(DECISIONS * max(1.0, stage.seconds)))
    for callers in CALLERS:
        works = {
            "SQLite": partial(_decide, stage.service, ids, callers, stage.seconds),
            "PostgreSQL": partial(_decide, postgres, ids, callers, stage.seconds),
            "pgbench": partial(_floor, server, callers, stage.seconds),
        }
        if callers == max(CALLERS):
            works[TWO] = partial(_decide_at_both, (postgres, other), ids, callers, stage.seconds)
        found = stage.in_turn(**works)
        for side, rates in found.items():
            yield figure("Submit by engine", side, stage.size, "calls/s", rates, callers)
        ratio = ratio_of_rounds(found["PostgreSQL"], found["SQLite"])
        name = f"Submit over PostgreSQL, {callers} callers: decisions/s to SQLite"
        yield Ratio(name, stage.size, ratio, TO_SQLITE, at_most=False)
        if TWO in found:
            ratio = ratio_of_rounds(found[TWO], found["PostgreSQL"])
            name = f"Submit over PostgreSQL, {callers} callers: decisions/s of two servers to one"
            yield Ratio(name, stage.size, ratio, TO_ONE_SERVER, at_most=False)


def _exports(stage: Stage, postgres: Side) -> Found:
    works = {
        "SQLite": partial(_examples_a_second, stage.service, ALWAYS_READ),
        "PostgreSQL": partial(_examples_a_second, postgres, ALWAYS_READ),
    }
    found = stage.in_turn(**works)
    for side, rates in found.items():
        yield figure("StreamExport by engine, batches of 256 asked for", side, stage.size, "examples/s", rates)
    ratio = ratio_of_rounds(found["PostgreSQL"], found["SQLite"])
    yield Ratio("StreamExport over PostgreSQL: to SQLite", stage.size, ratio, EXPORT_TO_SQLITE, at_most=False)


def workers(stage: Stage) -> Found:
    """Queue, Stats and filtered exports by many callers, of one worker and of two; and the CPU of each.

    The callers run on the same processors, so a last figure says what these allow: all their time, by what one call
    costs callers and two workers together.
    """
    one, two = dict[str, _Read](), dict[str, _Read]()
    for _ in range(stage.rounds):
        _read(stage, stage.service, one)
        # One service at a time has the directory.
        stage.service.stop()
        try:
            with sides.service(stage.directory, stage.source, f"--workers={WORKERS}") as several:
                _read(stage, several, two)
        finally:
            stage.service.start()
    for work, unit in (("Queue", "calls/s"), ("Stats", "calls/s"), ("filtered exports", "examples/s")):
        for count, found in ((1, one[work]), (WORKERS, two[work])):
            yield figure(f"{work} by workers", "ours", stage.size, unit, found.rates, count)
            yield figure(f"{work} by workers: CPU", "ours", stage.size, "us", found.cpu, count)
            yield figure(f"{work} by workers: CPU", "callers", stage.size, "us", found.callers_cpu, count)
        each_us = statistics.median(two[work].cpu) + statistics.median(two[work].callers_cpu)
        allowed = len(os.sched_getaffinity(0)) * 1e6 / each_us / statistics.median(one[work].rates)
        yield figure(f"{work} by workers: what the processors allow", "ours", stage.size, "x", [allowed], WORKERS)
        name = f"{work}: throughput of {WORKERS} workers to one"
        ratio = ratio_of_rounds(two[work].rates, one[work].rates)
        yield Ratio(name, stage.size, ratio, TO_ONE_WORKER, at_most=False)


@dataclass
class _Read:
    """Of each round: what was made a second, and the CPU in us that each took of the server and of its callers."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    callers_cpu: list[float] = field(default_factory=list)


def _read(stage: Stage, side: Side, found: dict[str, _Read]) -> None:
    """One round of each work, added to what was found."""
    examples, _ = _export(side, FILTERED)
    works = {
        "Queue": partial(_calls, stage, side, "Queue", b"", stage.callers),
        "Stats": partial(_calls, stage, side, "Stats", b"", stage.callers),
        "filtered exports": partial(_calls, stage, side, "StreamExport", FILTERED, EXPORTERS, examples),
    }
    for name, work in works.items():
        side.settle()
        before, own = sum(cpu_nanoseconds(side.pid).values()), time.process_time()
        count, seconds = work()
        used, own = sum(cpu_nanoseconds(side.pid).values()) - before, time.process_time() - own
        read = found.setdefault(name, _Read())
        read.rates.append(count / seconds)
        read.cpu.append(used / 1000 / count)
        read.callers_cpu.append(1e6 * own / count)


def _calls(stage: Stage, side: Side, method: str, message: bytes, callers: int, each: int = 1) -> tuple[int, float]:
    """How many calls were answered, times `each`, and in how many seconds."""
    messages = itertools.repeat(message)
    load = wire.run(side.address, f"{SERVICE}/{method}", messages, callers, stage.seconds, BEARER)
    assert not load.failed
    return each * len(load.seconds), load.elapsed


def _decide(side: Side, ids: list[str], callers: int, seconds: float) -> float:
    load = wire.run(side.address, f"{SERVICE}/Submit", iter(submissions(ids)), callers, seconds)
    assert not load.failed
    undone = (pb.UndoRequest(id=id).SerializeToString() for id in ids[: len(load.seconds)])
    wire.run(side.address, f"{SERVICE}/Undo", undone, 32, 3600)
    side.settle()
    return load.rate


def _decide_at_both(servers: tuple[Side, Side], ids: list[str], callers: int, seconds: float) -> float:
    """Half of the callers at each of two servers: decisions a second in all."""
    halves = (ids[::2], ids[1::2])
    with ThreadPoolExecutor(2) as pool:
        rates = pool.map(lambda server, ids: _decide(server, ids, callers // 2, seconds), servers, halves)
        return sum(rates)


def _floor(server: Postgres, callers: int, seconds: float) -> float:
    """Transactions a second of PostgreSQL's own load generator."""
    script = server.directory / "floor.sql"
    script.write_text(TRANSACTION)
    said = server.run(
        "pgbench", "--no-vacuum", f"--client={callers}", "--jobs=1", f"--time={max(1, round(seconds))}",
        f"--file={script}", "--host=127.0.0.1", f"--port={server.port}", "--username=avocet", "bench",
    )  # fmt: skip
    found = re.search(r"tps = ([\d.]+)", said)
    assert found, said
    return float(found[1])


def _examples_a_second(side: Side, request: bytes) -> float:
    _export(side, pb.StreamExportRequest(batch_size=1, shard_count=1_000).SerializeToString())
    count, seconds = _export(side, request)
    return count / seconds


def _export(side: Side, request: bytes) -> tuple[int, float]:
    """The examples of one export, by its summary, and its seconds."""
    channel = side.channel()
    call: Any = channel.unary_stream(f"{SERVICE}/StreamExport")
    began = time.perf_counter()
    [last] = deque(call(request), maxlen=1)
    seconds = time.perf_counter() - began
    channel.close()
    return pb.StreamExportResponse.FromString(last).summary.example_count, seconds
