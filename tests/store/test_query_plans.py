"""No statement of a hot path scans a table: each is held to its index by EXPLAIN QUERY PLAN."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avocet_grpc.core import export, review
from avocet_grpc.core.model import REVIEW_ORDERS, CandidateFilter, ExportSelection, File, Order, Position, UndoRequest
from avocet_grpc.store.exports import UNCHANGED
from avocet_grpc.store.files_store import SqliteStore
from tests.store_suite import correct, encode, import_candidates

SCAN = re.compile(r"\bSCAN (?!counters|meta|\d+ CONSTANT ROW)|USE TEMP B-TREE")


@pytest.fixture
def traced(tmp_path: Path):
    store = SqliteStore(tmp_path / "ledger.db", encode)
    import_candidates(store, 50)
    statements: list[str] = []
    store._db.set_trace_callback(statements.append)
    yield store, statements
    store.close()


def plans_that_scan(store: SqliteStore, statements: list[str]) -> list[str]:
    store._db.set_trace_callback(None)
    found = []
    for statement in {s for s in statements if s.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))}:
        plan = [row[3] for row in store._db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        found += [f"{step}: {statement}" for step in plan if SCAN.search(step)]
    return found


def test_a_decision_and_its_undo_scan_nothing(traced) -> None:
    store, statements = traced
    correct(store, "c3", request_id="r")
    store.write(lambda tx: review.undo(tx, UndoRequest("c3"))).result()
    assert len(statements) > 10
    assert plans_that_scan(store, statements) == []


@pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
@pytest.mark.parametrize("value", [None, "start", "middle"])
def test_a_queue_page_scans_nothing_at_any_place(traced, order: Order, value: str | None) -> None:
    store, statements = traced
    middle = 0.5 if "quality" in order else "2026-01-10"
    after = None if value == "start" else Position(middle if value else None, 10)

    def page(tx) -> None:
        tx.queue(CandidateFilter(), order, after, 0, 20)
        tx.queue_total(CandidateFilter())

    store.write(page).result()
    assert plans_that_scan(store, statements) == []


def test_stats_pending_and_export_scan_nothing(traced) -> None:
    store, statements = traced

    def read(tx) -> None:
        tx.stats(CandidateFilter())
        tx.pending(File.CANDIDATES, 10)
        tx.known_run_ids(["run"])
        cursor = export.open_export(
            tx, filter=CandidateFilter(), shard_index=0, shard_count=1, split=None,
            at_revision=0, since_revision=0, resume_token="",
        )  # fmt: skip
        tx.export_rows(cursor.selection, 5, 10)

    store.write(read).result()
    assert plans_that_scan(store, statements) == []


def test_a_move_of_lines_goes_through_these_lines_alone(traced) -> None:
    store, statements = traced
    store.write(lambda tx: tx.moved_all(File.CANDIDATES, [(2, 3, 100)])).result()
    store._db.set_trace_callback(None)
    moves = [one for one in statements if one.lstrip().startswith("UPDATE lines")]
    plans = [row[3] for one in moves for row in store._db.execute(f"EXPLAIN QUERY PLAN {one}")]
    assert plans and all("INTEGER PRIMARY KEY" in plan for plan in plans)


def test_an_export_is_counted_by_an_index_alone(traced) -> None:
    store, _ = traced
    store._db.set_trace_callback(None)
    shard = ExportSelection(store.read(lambda r: r.revision()), shard_count=2)
    statements: list[str] = []
    store._db.set_trace_callback(statements.append)
    store.write(lambda tx: tx.export_total(shard, 3)).result()
    [counted] = [statement for statement in statements if "count(*)" in statement]
    store._db.set_trace_callback(None)
    assert "COVERING INDEX" in store._db.execute(f"EXPLAIN QUERY PLAN {counted}").fetchone()[3]


def test_a_batch_that_was_kept_is_checked_by_an_index_alone(traced) -> None:
    store, _ = traced
    plan = store._db.execute(f"EXPLAIN QUERY PLAN {UNCHANGED}", (1, 9, 5, 5)).fetchall()
    assert [row[3] for row in plan] == ["SEARCH examples USING COVERING INDEX examples_counted (key>? AND key<?)"]
