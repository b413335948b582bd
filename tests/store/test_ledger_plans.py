"""No statement of a hot path scans a table: each is held to its index by EXPLAIN QUERY PLAN."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import (
    REVIEW_ORDERS,
    Action,
    CandidateFilter,
    Decision,
    File,
    Order,
    Position,
    UndoRequest,
)
from avocet_grpc.core.ports.ledger import HistoryCursor
from avocet_grpc.core.ports.mirror import Cursor, Edit, Expected, Found, How
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql import queue as pages
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.session import SqliteSession
from tests.ledger_suite import candidate_line, correct, encode, import_candidates

ALL_OF_IT = (
    r"(?!\(subquery|counters|dictionaries|facets|meta|head|reports|part|CONSTANT ROW|\d+ CONSTANT ROW"
    r"|claims USING COVERING INDEX)"
)
SCAN = re.compile(rf"\bSCAN {ALL_OF_IT}|USE TEMP B-TREE")
NOT_FILTERED = CandidateFilter()

STALE = {
    "as made": "",
    "from an empty ledger": "0",
    "from another ledger": "5000000 1 1 1 1",
}
"""What the planner's statistics say; a ledger has none unless somebody ran ANALYZE on it."""


class Traced:
    """A ledger whose statements are noted, and the plans of those that were."""

    def __init__(self, tmp_path: Path, statistics: str) -> None:
        self.ledger = SqliteLedger(DataDirectory(tmp_path), encode)
        import_candidates(self.ledger, 50)
        correct(self.ledger, "c49")
        if statistics:
            self._pretend(self.ledger._db, statistics)
            self.ledger.close()
            self.ledger = SqliteLedger(DataDirectory(tmp_path), encode)
        self.db = self.ledger._db
        self.statements: list[str] = []

    def _pretend(self, db: sqlite3.Connection, statistics: str) -> None:
        db.execute("ANALYZE")
        db.execute("DELETE FROM sqlite_stat1")
        indexes = db.execute("SELECT tbl_name, name FROM sqlite_master WHERE type = 'index'").fetchall()
        rows = [(table, index, statistics) for table, index in indexes]
        db.executemany("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", rows)

    def run(self, work: Callable[[Any], Any]) -> Any:
        self.db.set_trace_callback(self.statements.append)
        try:
            return self.ledger.write(work).result()
        finally:
            self.db.set_trace_callback(None)

    def scans(self) -> list[str]:
        found = []
        for statement in {
            s for s in self.statements if s.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT"))
        }:
            plan = [row[3] for row in self.db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            found += [f"{step}: {statement}" for step in plan if SCAN.search(step)]
        return found


@pytest.fixture(params=list(STALE.values()), ids=list(STALE))
def traced(tmp_path: Path, request: pytest.FixtureRequest):
    traced = Traced(tmp_path, request.param)
    yield traced
    traced.ledger.close()


def test_a_decision_and_its_undo_scan_nothing(traced: Traced) -> None:
    traced.run(lambda tx: correct_in(tx, "c3"))
    traced.run(lambda tx: review.undo(tx, UndoRequest("c3")))
    traced.run(lambda tx: correct_in(tx, "c3"))
    assert len(traced.statements) > 10
    assert traced.scans() == []


def correct_in(tx: Any, id: str) -> Any:
    return review.submit(tx, Decision(id, Action.CORRECT, "better", request_id=f"r{tx.revision()}"))


@pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
@pytest.mark.parametrize("value", [None, "start", "middle"])
def test_a_queue_page_scans_nothing_at_any_place(traced: Traced, order: Order, value: str | None) -> None:
    middle = 0.5 if "quality" in order else "2026-01-10"
    after = None if value == "start" else Position(middle if value else None, 10)

    def page(tx: Any) -> None:
        tx.queue(NOT_FILTERED, order, after, 0, 20)
        tx.queue_total(NOT_FILTERED)

    traced.run(page)
    assert traced.scans() == []


def test_stats_history_and_export_scan_nothing(traced: Traced) -> None:
    def read(tx: Any) -> None:
        tx.stats(NOT_FILTERED)
        tx.known_run_ids(["run"])
        tx.history("c1")
        tx.newest_change("c1", lambda entry: False)
        tx.history_after(HistoryCursor(tx.revision() - 1), 10)
        tx.examples.head()
        list(tx.examples.approved(tx.revision() - 1))
        list(tx.examples.removed(tx.revision() - 1))
        tx.examples.bodies([1, 2])
        list(tx.examples.kept_together(1, 2))

    traced.run(read)
    assert traced.scans() == []


def test_the_mirror_s_reads_and_commands_scan_nothing(traced: Traced) -> None:
    mirror = traced.ledger.mirror()
    epoch = mirror.take_over()
    with mirror.view() as view:
        now = view.changed(File.CANDIDATES, ["c1"])["c1"]
    expected = Expected(now.digest, now.revision)
    edited = candidate_line(1, note="edited")
    traced.db.set_trace_callback(traced.statements.append)
    mirror.take_in(epoch, File.CANDIDATES, [Found(candidate_line(77))], How.APPENDED, trusted=False)
    mirror.accept_edits(epoch, File.CANDIDATES, [Edit("c1", expected, edited, fresh=True)], trusted=False)
    mirror.accept_deletions(epoch, File.CANDIDATES, [("c2", expected)])
    reader = SqlMirrorReader(SqliteSession(traced.db))
    reader.head()
    reader.changes(File.CANDIDATES, Cursor(5, 5), 10)
    reader.records(File.CANDIDATES, 5, 10)
    reader.changed(File.APPROVED, ["c1", "c2"])
    reader.knows(File.APPROVED, [("c1", b"x")])
    reader.is_empty(File.APPROVED)
    traced.db.set_trace_callback(None)
    assert traced.scans() == []


def test_what_changed_since_a_revision_is_found_by_the_indexes_of_its_revisions(traced: Traced) -> None:
    revision = traced.ledger.read(lambda r: r.revision())
    traced.run(lambda tx: (list(tx.examples.approved(revision - 1)), list(tx.examples.removed(revision - 1))))
    reads = [statement for statement in traced.statements if "FROM examples" in statement]
    plans = [row[3] for statement in reads for row in traced.db.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert plans == [
        "SEARCH examples USING INDEX examples_by_approval (approved_revision>?)",
        "SEARCH examples USING INDEX examples_removed (removed_revision>? AND removed_revision<?)",
    ]


def test_the_same_prompt_is_counted_by_its_index(traced: Traced) -> None:
    traced.run(lambda tx: tx.same_prompt([b"\0" * 32], 101))
    [counted] = [statement for statement in traced.statements if "prompt_digest" in statement and "count(" in statement]
    plan = [row[3] for row in traced.db.execute(f"EXPLAIN QUERY PLAN {counted}")]
    assert any("USING COVERING INDEX records_by_prompt" in step for step in plan), plan


@pytest.mark.parametrize("few, near", [(10_000, 1_000), (0, 1_000)], ids=["few are sorted", "facets are merged"])
@pytest.mark.parametrize("order", [Order.FILE, Order.QUALITY_DESC])
def test_a_filtered_page_and_its_total_read_what_passes_alone(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, order: Order, few: int, near: int
) -> None:
    monkeypatch.setattr(pages, "FEW", few)
    monkeypatch.setattr(pages, "NEAR", near)
    filter = CandidateFilter(model_names=("m1", "m2"))
    traced.run(lambda tx: (tx.queue(filter, order, None, 0, 20), tx.queue_total(filter), tx.stats(filter)))
    reads = [one for one in traced.statements if "FROM records" in one and one.startswith("SELECT")]
    plans = [row[3] for one in reads for row in traced.db.execute(f"EXPLAIN QUERY PLAN {one}")]
    assert [step for step in plans if "SCAN r" in step] == []
    by_facet = any(
        "USING INDEX queue_by_facet (facet=?" in step or "COVERING INDEX queue_by_facet" in step for step in plans
    )
    assert by_facet == (bool(few) or order is Order.FILE)


def test_a_count_with_a_range_of_quality_reads_an_index_alone_or_the_table_once(traced: Traced) -> None:
    filter = CandidateFilter(task_types=("qa",), min_quality_score=0.1, max_quality_score=0.5)
    traced.run(lambda tx: (tx.queue_total(filter), tx.stats(filter)))
    counts = [one for one in traced.statements if "count(" in one and "FROM records" in one]
    plans = [traced.db.execute(f"EXPLAIN QUERY PLAN {counted}").fetchall() for counted in counts]
    by_quality = "SEARCH r USING COVERING INDEX queue_by_quality (quality_score>? AND quality_score<?)"
    assert [step[3] for step in plans[0]][:2] == ["CO-ROUTINE found", by_quality]
    assert plans[1][0][3] == by_quality
    assert plans[2][0][3] == "SCAN r"
    assert len(plans) == 3
