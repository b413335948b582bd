"""The way into a shared file that others hold open: readers in a loop, so that there is hardly ever a lease."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.results import Ratio, figure
from tests.bench.stage import Stage
from tests.bench.whole import Watch, decide
from tests.bench.writes import Found

READERS = 2
A_SECOND = 10
ROUNDS = 4
"""For how many rounds' times it is watched."""
READER = """
import json, sys
while True:
    with open(sys.argv[1], "rb") as file:
        for line in file:
            line.isspace() or json.loads(line)
"""


def held_file(stage: Stage) -> Found:
    """From an answered decision to the moment when a plain reader can see it; the first ones wait for a copy."""
    path = stage.directory / "data" / "sft_candidates.jsonl"
    ids = stage.queued_ids(max(6, round(A_SECOND * ROUNDS * stage.seconds)))
    # What earlier works left to write would be taken for these decisions.
    stage.service.settle()
    with _readers(path), Watch(path) as watch:
        answered = decide(stage, ids, A_SECOND)
        watch.wait_for(set(ids), within_s=120)
    stage.undo(ids)
    late = [1000 * max(0.0, watch.seen[id] - at) for id, at in answered.items()]
    settled = figure("its way while two readers hold the file", "ours", stage.size, "ms", late[len(late) // 3 :])
    yield figure("its way when two readers begin to", "ours", stage.size, "ms", late[: len(late) // 3])
    yield settled
    yield Ratio(
        "a plain reader sees a decision while two others hold the file", stage.size, settled.p99, 1_000, True, "ms"
    )


@contextmanager
def _readers(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(READERS):
            process = subprocess.Popen([sys.executable, "-c", READER, str(path)])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield
