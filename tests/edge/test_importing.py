"""An import in steps, and what waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.imports import steps_of
from avocet_grpc.core.lines import RunLine
from avocet_grpc.core.model import Action, CandidateFilter, Decision, OnConflict
from avocet_grpc.core.record import parse
from avocet_grpc.edge.answers import Answers
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import begin, current
from avocet_grpc.edge.importing import import_in_steps
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode, import_candidates

MOST_BEFORE = 100
"""Records of an import that a decision may wait for."""


def run_lines(count: int, run: int = 0, size: int = 0) -> list[RunLine]:
    texts = (json.dumps({"id": f"r{run}-{n}", "status": "needs_review", "text": "x" * size}) for n in range(count))
    return [RunLine(number, parse(text.encode())) for number, text in enumerate(texts, 1)]


class Counted:
    """A ledger that counts the changes that were queued."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger, self.queued = ledger, 0

    def write(self, work: Callable[[Any], Any]) -> Future[Any]:
        future = self._ledger.write(work)
        self.queued += 1
        return future


@pytest.mark.parametrize("importers", [1, 3])
def test_a_decision_waits_for_at_most_one_step_of_each_import(tmp_path: Path, importers: int) -> None:
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        import_candidates(ledger, 1)
        before = asyncio.run(imported_before_a_decision(ledger, importers))
        assert 0 < before <= importers * MOST_BEFORE
        assert ledger.read(lambda r: r.stats(CandidateFilter())).total == 1 + 2_000 * importers


async def imported_before_a_decision(ledger: SqliteLedger, importers: int) -> int:
    """How many records came before a decision that was asked for while each import had a step under way."""
    nothing: Any = None
    store: Any = Counted(ledger)
    backend = Backend(store, nothing, nothing, nothing)
    hold, before = threading.Event(), list[int]()

    def decide(tx: Any) -> None:
        before.append(tx.stats(CandidateFilter()).total - 1)
        review.submit(tx, Decision("c0", Action.FLAG))

    held = asyncio.ensure_future(backend.write(lambda tx: hold.wait(60)))
    budget = Answers(64 << 20)

    async def import_run(number: int) -> None:
        begin("Import", ())
        with budget.hold("ipv4:1") as current.get().answers:
            await import_in_steps(backend, f"r{number}", iter(run_lines(2_000, number)), OnConflict.SKIP)

    runs = asyncio.gather(*map(import_run, range(importers)))
    while store.queued < 1 + importers and not runs.done():
        await asyncio.sleep(0.01)
    decision = asyncio.ensure_future(backend.write(decide))
    while store.queued < 2 + importers and not runs.done():
        await asyncio.sleep(0.01)
    hold.set()
    await asyncio.gather(held, decision, runs)
    backend.close()
    return before[0]


def test_a_step_of_long_lines_has_few_of_them() -> None:
    sizes = [sum(len(line.line.raw) for line in step) for step in steps_of(run_lines(100, size=100_000))]
    assert len(sizes) > 10 and max(sizes) < 1_000_000
    assert [len(step) for step in steps_of(run_lines(3, size=3_000_000))] == [1, 1, 1]
