"""What is measured of the service as a whole: its start, its memory, its way into the shared files."""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench.results import Ratio, figure
from tests.bench.stage import Stage, submissions
from tests.bench.writes import ONE_CALLER_CALLS, Found, one_caller, run_module

A_SECOND = 50
"""Decisions a second that the shared file is watched under."""
WATCHED_S = 8
LOOK_EVERY_S = 0.002
FIRST_START_S, LATER_START_S = 45, 1.5
IDLE_MB, EXPORTING_MB = 200, 300


def start(stage: Stage) -> Found:
    """Seconds to `listening on`: of a first start with these files, if this run made it, and of a later one."""
    if stage.first_start_s:
        yield figure("first start", "ours", stage.size, "s", [stage.first_start_s])
        yield Ratio("first start", stage.size, stage.first_start_s, FIRST_START_S, at_most=True, unit="s")
    yield figure("later start", "ours", stage.size, "s", [stage.later_start_s])
    yield Ratio("later start", stage.size, stage.later_start_s, LATER_START_S, at_most=True, unit="s")


def memory(stage: Stage) -> Found:
    """Resident memory of all processes: idle, and its highest while everything is exported."""
    stage.service.settle()
    idle, _ = stage.service.memory()
    during = max(stage.service.memory()[0] for _ in stage.service.stub().StreamExport(pb.StreamExportRequest()))
    _, highest = stage.service.memory()
    values = {"idle": idle, "exporting": during, "highest since start": highest}
    for name, value in values.items():
        yield figure(f"memory of all processes, {name}", "ours", stage.size, "MB", [value])
    yield Ratio("memory of all processes, idle", stage.size, idle, IDLE_MB, True, "MB")
    yield Ratio("memory of all processes, exporting", stage.size, during, EXPORTING_MB, True, "MB")


def shared_file(stage: Stage) -> Found:
    """From an answered decision to the moment when a plain reader can see it; and what was written for it."""
    ids = stage.queued_ids(A_SECOND * WATCHED_S)
    path = stage.directory / "data" / "sft_candidates.jsonl"
    watch, blank = Watch(path), blank_bytes(path)
    with watch:
        answered = decide(stage, ids, A_SECOND)
        watch.wait_for(set(ids))
    # A patch writes the new line and blanks the old one, a swap the whole file.
    written = watch.grown + max(0, blank_bytes(path) - blank) + watch.swapped
    stage.undo(ids)
    late = [1000 * max(0.0, watch.seen[id] - at) for id, at in answered.items()]
    seen = figure("a decision's way into the shared file", "ours", stage.size, "ms", late)
    yield seen
    yield Ratio("a plain reader sees a decision", stage.size, seen.median, 100, at_most=True, unit="ms")
    yield Ratio("bytes written to the file to the changed lines'", stage.size, written / watch.changed, 4, at_most=True)


def decide(stage: Stage, ids: list[str], a_second: int) -> dict[str, float]:
    """Correct `a_second` of them a second; gives the moments of the answers (`time.perf_counter`)."""
    answered: dict[str, float] = {}
    call: Any = stage.service.stub().Submit
    began = time.perf_counter()
    for number, message in enumerate(submissions(ids)):
        time.sleep(max(0.0, began + number / a_second - time.perf_counter()))
        call(pb.SubmitRequest.FromString(message))
        answered[ids[number]] = time.perf_counter()
    return answered


def one_call(stage: Stage) -> Found:
    """Where the time of one Submit goes; what is left over is the way between gRPC and the ledger."""
    ids = stage.queued_ids(ONE_CALLER_CALLS)
    messages = submissions(ids)

    def ours() -> float:
        seconds = statistics.median(one_caller(stage.service, "Submit", messages))
        stage.undo(ids)
        return seconds

    found = stage.in_turn(
        ours=ours,
        floor=lambda: statistics.median(one_caller(stage.floor, "Submit", messages)),
        below=lambda: json.loads(run_module("tests.bench.anatomy", stage.source)),
    )
    whole, empty = (1e6 * statistics.median(found[side]) for side in ("ours", "floor"))
    parts = {part: statistics.median(below[part] for below in found["below"]) for part in found["below"][0]}
    between = max(0.0, whole - empty - sum(parts.values()))
    for part, value in {"gRPC, an empty call": empty, "edge, and between threads": between, **parts}.items():
        yield figure("one Submit", part, stage.size, "us", [value])


def blank_bytes(path: Path) -> int:
    """Bytes of the file's blank lines."""
    with path.open("rb") as file:
        return sum(len(line) for line in file if line.isspace())


@dataclass
class Watch:
    """Reads what is added to the file, opening it only if it has grown: an open would hold up its writer."""

    path: Path

    def __post_init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.grown = self.changed = self.swapped = 0
        self._end = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        status = os.stat(self.path)
        self._inode, self._size = status.st_ino, status.st_size
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def wait_for(self, ids: set[str], within_s: float = 30) -> None:
        """Until all are seen. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while not ids <= self.seen.keys():
            if time.monotonic() > deadline:
                raise TimeoutError("a decision did not reach the shared file")
            time.sleep(0.05)

    def _run(self) -> None:
        while not self._end.wait(LOOK_EVERY_S):
            status = os.stat(self.path)
            if status.st_ino != self._inode:
                self.swapped += status.st_size
                self._inode, self._size = status.st_ino, max(0, status.st_size - (8 << 20))
            if status.st_size > self._size:
                self._read()

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._size)
            tail = file.read()
        now, whole = time.perf_counter(), tail[: tail.rfind(b"\n") + 1]
        self._size += len(whole)
        self.grown += len(whole)
        for line in whole.splitlines(keepends=True):
            id = line.partition(b'"id": "')[2].partition(b'"')[0].decode()
            if self.seen.setdefault(id, now) == now:
                self.changed += len(line)
