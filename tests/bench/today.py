"""The service beside the legacy algorithm, on the same records."""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import time
from collections.abc import Callable
from typing import Any

from tests.bench import sides
from tests.bench.reads import _whole
from tests.bench.results import Ratio, figure, ratio_of_rounds
from tests.bench.stage import CORRECTION, Stage, submissions
from tests.bench.writes import Found, one_caller

CALLS = 50
TARGETS = {"submit": 1000, "queue": 500, "stats": 1000, "export": 20}
MOST = 100_000
"""The targets are of this size; above it one legacy call takes longer than all other measurements together."""


def against_today(stage: Stage) -> Found:
    """Submit, Queue, Stats and the export of both."""
    if stage.size > MOST:
        return
    directory = stage.directory / "legacy"
    shutil.copytree(stage.directory / "data", directory / "data", ignore=shutil.ignore_patterns(".avocet"))
    try:
        with sides.legacy(directory) as old:
            yield from _compare(stage, old)
    finally:
        shutil.rmtree(directory)


def _compare(stage: Stage, old: sides.Side) -> Found:
    ids = stage.queued_ids(CALLS)
    asked: dict[str, dict[str, Any]] = {"queue": {"page": 1, "per_page": 20}, "stats": {}}
    fresh = iter(ids)

    def submit() -> float:
        seconds = one_caller(stage.service, "Submit", submissions(ids))
        stage.undo(ids)
        return statistics.median(seconds)

    ours: dict[str, Callable[[], float]] = {
        "submit": submit,
        "queue": lambda: statistics.median(one_caller(stage.service, "Queue", [b""] * CALLS)),
        "stats": lambda: statistics.median(one_caller(stage.service, "Stats", [b""] * CALLS)),
    }
    for work, run in ours.items():

        def legacy(work: str = work) -> float:
            one = asked.get(work) or {"id": next(fresh), "corrected_response": CORRECTION}
            return _post(old, f"/{work}", one)[1]

        found = stage.in_turn(ours=run, legacy=legacy)
        for side, values in found.items():
            yield figure(f"legacy's {work}", side, stage.size, "ms", [1000 * s for s in values])
        times = ratio_of_rounds(found["legacy"], found["ours"])
        yield from _target(stage, work, times)
    found = stage.in_turn(ours=lambda: _rate(_whole(stage.service)), legacy=lambda: _rate(_export(old)))
    for side, values in found.items():
        yield figure("legacy's export", side, stage.size, "examples/s", values)
    times = ratio_of_rounds(found["ours"], found["legacy"])
    yield from _target(stage, "export", times)


def _target(stage: Stage, work: str, times: float) -> Found:
    if stage.size == MOST:
        yield Ratio(f"{work} against the legacy algorithm", stage.size, times, TARGETS[work], at_most=False)


def _export(old: sides.Side) -> tuple[int, float]:
    body, seconds = _post(old, "/export", {})
    started = time.perf_counter()
    count = len([json.loads(line) for line in body.splitlines()])
    return count, seconds + time.perf_counter() - started


def _rate(export: tuple[int, float]) -> float:
    return export[0] / export[1]


def _post(old: sides.Side, path: str, asked: dict[str, Any]) -> tuple[bytes, float]:
    """The answer, and the seconds it took."""
    connection = http.client.HTTPConnection(old.address, timeout=600)
    started = time.perf_counter()
    connection.request("POST", path, json.dumps(asked))
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200, body
    return body, time.perf_counter() - started
