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
from avocet_grpc.core.ports.ledger import Transaction
from avocet_grpc.core.record import parse
from avocet_grpc.edge.convert import candidate_message, encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.group import Run
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.session import SqliteSession, connect
from tests.bench.dataset import lines
from tests.bench.stage import CORRECTION

CANDIDATES = 10_000
DECISIONS = 500
PARTS = ("read and change the record", "write the rows", "commit and fsync", "the answer's message")


def anatomy() -> dict[str, float]:
    """Microseconds of each part, the median over decisions that each have a commit of their own."""
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory() as directory:
        place = DataDirectory(Path(directory))
        ledger = SqliteLedger(place, encode_example)
        read = [parse(line.rstrip("\n").encode()) for line in lines(CANDIDATES)]
        ledger.write(partial(imports.import_run, run_id="run", lines=read)).result()
        connection = connect(place.ledger)
        ids = [line.columns.id for line in read if line.columns and line.columns.status == "needs_review"]
        for id in ids[:: len(ids) // DECISIONS]:
            decide = partial(review.submit, decision=Decision(id, Action.CORRECT, CORRECTION, reviewer="ann"))
            for part, seconds in zip(PARTS, _decide(connection, decide), strict=True):
                found[part].append(1e6 * seconds)
        connection.close()
        ledger.close()
    return {part: statistics.median(values) for part, values in found.items()}


def _decide(db: sqlite3.Connection, decide: Callable[[Transaction], Candidate]) -> list[float]:
    session, marks = SqliteSession(db), [time.perf_counter()]
    db.execute("BEGIN IMMEDIATE")
    run = Run(session, Queries(session).head(), encode_example, lambda error: isinstance(error, sqlite3.Error))
    candidate = run.outcome(decide)
    marks.append(time.perf_counter())
    run.finish()
    marks.append(time.perf_counter())
    db.execute("COMMIT")
    marks.append(time.perf_counter())
    candidate_message(candidate)
    marks.append(time.perf_counter())
    return [after - before for before, after in pairwise(marks)]


if __name__ == "__main__":
    print(json.dumps(anatomy()))
