"""Where the time of one decision goes, below gRPC: `python -m tests.bench.anatomy` prints microseconds as JSON."""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from avocet_grpc.core import imports, review
from avocet_grpc.core.model import Action, Candidate, Decision
from avocet_grpc.core.ports.files import Transaction
from avocet_grpc.core.record import parse
from avocet_grpc.edge.convert import candidate_message, encode_example
from avocet_grpc.store.files_store import Run, SqliteStore
from tests.bench.dataset import lines
from tests.bench.stage import CORRECTION

CANDIDATES = 10_000
DECISIONS = 500
PARTS = ("read and change the record", "write the rows", "commit and fsync", "the answer's message")


def anatomy() -> dict[str, float]:
    """Microseconds of each part, the median over decisions that each have a commit of their own."""
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory) / "ledger.db", encode_example)
        read = [parse(line.rstrip("\n").encode()) for line in lines(CANDIDATES)]
        store.write(partial(imports.import_run, run_id="run", lines=read)).result()
        ids = [line.columns.id for line in read if line.columns and line.columns.status == "needs_review"]
        for id in ids[:: len(ids) // DECISIONS]:
            decide = partial(review.submit, decision=Decision(id, Action.CORRECT, CORRECTION, reviewer="ann"))
            for part, seconds in zip(PARTS, _decide(store, store._db, decide), strict=True):
                found[part].append(1e6 * seconds)
        store.close()
    return {part: statistics.median(values) for part, values in found.items()}


def _decide(store: SqliteStore, db: sqlite3.Connection, decide: Callable[[Transaction], Candidate]) -> list[float]:
    marks = [time.perf_counter()]
    db.execute("BEGIN IMMEDIATE")
    run = Run(db, encode_example, store._revision, store._next_key)
    candidate = run.outcome(decide)
    marks.append(time.perf_counter())
    run.finish()
    marks.append(time.perf_counter())
    db.execute("COMMIT")
    marks.append(time.perf_counter())
    candidate_message(candidate)
    marks.append(time.perf_counter())
    store._revision, store._next_key = run.revision, run.next_key
    return [after - before for before, after in pairwise(marks)]


if __name__ == "__main__":
    print(json.dumps(anatomy()))
