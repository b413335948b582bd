"""No statement of a hot path looks at more rows of PostgreSQL than its answer needs, whatever the statistics say.

CLUSTER=full asks a store of 100,000 candidates; `make test-cluster` does that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("psycopg")

import psycopg

from avocet_grpc.core import claims, imports, ingest, review
from avocet_grpc.core.claims import ClaimRequest
from avocet_grpc.core.model import (
    REVIEW_ORDERS,
    Action,
    CandidateFilter,
    Correction,
    Decision,
    File,
    Order,
    Position,
    QueueItem,
    UndoRequest,
)
from avocet_grpc.core.ports.claims import ClaimState, HeldBy
from avocet_grpc.core.ports.ledger import HistoryCursor
from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.core.record import parse
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.sql import queue as pages
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.queries import Queries
from tests.ledger_suite import encode
from tests.postgres import Postgres
from tests.store.explained import explained
from tests.support import eventually

FULL = os.environ.get("CLUSTER") == "full"
COUNT = 100_000 if FULL else 5_000
APPROVED, CLAIMED = COUNT // 5, 100
MOST = 1_000
"""Rows that one statement may look at: a page, what is claimed before it, all facets and counters."""
ALL = CandidateFilter()
ORDERS = [order for order in Order if order not in REVIEW_ORDERS]


def line(n: int, **more: Any) -> Any:
    record = {
        "id": f"c{n:06d}", "status": "needs_review", "timestamp": f"2026-01-{n % 28 + 1:02}",
        "quality_score": n % 97 / 97, "model_name": "rare" if n % (COUNT // 20) == 0 else f"m{n % 4}",
        "task_type": f"t{n % 3}", "prompt": f"Why {n}?", "model_response": "x" * 300,
    }  # fmt: skip
    return parse(json.dumps(record | more).encode())


def decision(n: int) -> Decision:
    return Decision(f"c{n:06d}", Action.CORRECT, "better", reviewer="ann", request_id=f"r{n}")


def fill(ledger: PostgresLedger) -> None:
    for start in range(0, COUNT, 1_000):
        lines = [line(n) for n in range(start, start + 1_000)]
        ledger.write(lambda tx, lines=lines: imports.import_run(tx, "run", lines)).result()
    for start in range(0, APPROVED, 200):
        works = [lambda tx, n=n: review.submit(tx, decision(n)) for n in range(start, start + 200)]
        outcomes = ledger.write_all(works).result()
        assert not any(isinstance(one, Exception) for one in outcomes)
    for _ in range(CLAIMED // 50):
        ledger.write(lambda tx: claims.claim(tx, ClaimRequest("ann", 50))).result()


@pytest.fixture(scope="module", params=["statistics of an empty store", "fresh statistics"])
def url(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[str]:
    url = postgres.new_database()
    with psycopg.connect(url, autocommit=True) as db:
        for (table,) in db.execute("SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"):
            db.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
        db.execute("ANALYZE")
    ledger = PostgresLedger(url, encode, warns=False)
    fill(ledger)
    ledger.close()
    if request.param == "fresh statistics":
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("VACUUM ANALYZE")
    yield url
    postgres.drop(url)


def too_many(url: str, work: Callable[[Any], Any], most: int = MOST) -> dict[str, int]:
    """The statements of a work that look at too many rows."""
    return {statement: rows for statement, rows in explained(url, work).looked_at.items() if rows > most}


def test_the_measure_sees_a_statement_that_looks_at_every_row(url: str) -> None:
    everything = "SELECT count(*) FROM records WHERE task_id = :task OR body = :body"
    found = too_many(url, lambda tx: tx._session.number(everything, {"task": "none", "body": -1}))
    assert found[everything] >= COUNT


def test_a_decision_its_undo_and_an_ingest_look_at_few_rows(url: str) -> None:
    def work(tx: Any) -> None:
        review.submit(tx, decision(COUNT - 1))
        tx.written()
        review.undo(tx, UndoRequest(f"c{COUNT - 1:06d}"))
        tx.written()
        review.undo(tx, UndoRequest("c000001"))
        ingest.ingest(tx, Correction("m", "qa", "Why 5?", "r", "text", request_id="new"))

    assert too_many(url, work) == {}


def test_candidates_of_a_batch_are_fetched_together(url: str) -> None:
    assert too_many(url, lambda tx: Queries(tx._session).stored_small({f"c{n:06d}" for n in range(100, 228)})) == {}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("place", ["start", "middle", "without the key"])
def test_a_page_of_the_queue_looks_at_few_rows_at_any_place(url: str, order: Order, place: str) -> None:
    value = 0.5 if "quality" in order else "2026-01-10"
    after = (
        None if place == "start" else Position(value if place == "middle" and order != Order.FILE else None, COUNT // 2)
    )

    def work(tx: Any) -> None:
        tx.queue(ALL, order, after, 0, 20)
        tx.queue_total(ALL)
        tx.claims.free(ALL, order, "bob", 20)

    assert too_many(url, work) == {}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("place", ["start", "middle"])
def test_a_page_of_a_list_looks_at_few_rows(url: str, order: Order, place: str) -> None:
    value = 0.5 if "quality" in order else "2026-01-10" if "time" in order else None
    after = None if place == "start" else Position(value, COUNT // 2)

    def work(tx: Any) -> None:
        tx.listing.look(("needs_review",), ALL, order, after, 20, 500)
        tx.listing.look(("needs_review", "approved"), ALL, order, after, 20, 500)

    assert too_many(url, work) == {}


@pytest.mark.parametrize("order", ORDERS)
def test_a_filtered_page_and_its_total_look_at_few_rows(
    url: str, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "FEW", COUNT // 100)
    filter = CandidateFilter(model_names=("m1", "m2"), task_types=("t1",))
    assert too_many(url, lambda tx: (tx.queue(filter, order, None, 0, 20), tx.queue_total(filter))) == {}


@pytest.mark.parametrize("order", ORDERS)
def test_few_that_pass_a_filter_are_found_by_it_and_sorted_then(
    url: str, order: Order, request: pytest.FixtureRequest
) -> None:
    filter, found = CandidateFilter(model_names=("rare",)), list[QueueItem]()
    session = explained(url, lambda tx: found.extend(tx.queue(filter, order, None, 0, 20)))
    assert 10 < len(found) <= 20
    ways = [ways for statement, ways in session.indexes.items() if "r.key, r.recorded_at" in statement]
    # By old statistics all indexes that hold the facet cost the same.
    good = (
        {"queue_by_facet"} if "fresh" in request.node.name else {"queue_by_facet", "queue_by_quality", "queue_by_time"}
    )
    assert ways and all(way <= good for way in ways), session.indexes
    assert [rows for rows in session.looked_at.values() if rows > MOST] == []


def test_claims_are_found_renewed_released_and_swept_by_indexes(url: str) -> None:
    def work(tx: Any) -> None:
        held = claims.claim(tx, ClaimRequest("cid", 3))
        leases = [one.claim.lease_id for one in held]
        claims.renew(tx, leases, 600, "")
        claims.release(tx, leases, 60, "")
        tx.claims.sweep(100)
        tx.claims.queue(HeldBy(ClaimState.MINE, "ann"), ALL, Order.FILE, None, 0, 20)

    assert too_many(url, work) == {}


def test_a_reviewer_s_claims_are_counted_by_their_index(url: str) -> None:
    ways = explained(url, lambda tx: tx.claims.held_by("ann")).indexes
    assert [way for statement, way in ways.items() if "FROM claims" in statement] == [{"claims_by_reviewer"}]


def test_stats_and_history_look_at_few_rows(url: str) -> None:
    def work(tx: Any) -> None:
        tx.stats(ALL)
        tx.stats(CandidateFilter(model_names=("m1",)))
        tx.known_run_ids(["run"])
        tx.history("c000001")
        tx.newest_change("c000001", lambda entry: False)
        tx.history_after(HistoryCursor(tx.revision() - 5), 10)
        tx.log.entries(HistoryCursor(tx.revision() - 50, COUNT // 2), 20, id="", newest_first=True)
        tx.log.entries(None, 20, id="c000100", newest_first=False)

    assert too_many(url, work) == {}


def test_what_changed_since_a_revision_is_found_by_its_revision(url: str) -> None:
    def work(tx: Any) -> None:
        revision = tx.revision()
        list(tx.examples.approved(revision - 50))
        list(tx.examples.removed(revision - 50))
        tx.examples.bodies(range(1, 50))
        list(tx.examples.kept_together(1, 50))
        tx.examples.head()

    assert too_many(url, work) == {}


def test_the_same_prompt_is_counted_by_its_index(url: str) -> None:
    assert too_many(url, lambda tx: tx.same_prompt([b"\0" * 32], 101)) == {}


def test_the_mirror_reads_and_takes_in_by_indexes(url: str) -> None:
    def work(tx: Any) -> None:
        reader, near = SqlMirrorReader(tx._session), tx.revision() - 20
        reader.head()
        reader.changes(File.APPROVED, Cursor(near, 0), 10)
        reader.records(File.CANDIDATES, COUNT // 2, 10)
        reader.changed(File.APPROVED, ["c000001", "c000002"])
        reader.knows(File.APPROVED, [("c000001", b"x")])
        reader.is_empty(File.APPROVED)

    assert too_many(url, work) == {}


def test_a_server_whose_plans_are_for_any_values_reads_by_indexes_too(url: str, postgres: Postgres) -> None:
    """The plans that PostgreSQL makes for the service itself: what it says that it read from whole tables."""
    name = url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET plan_cache_mode = force_generic_plan")
    try:
        before = read_from_whole_tables(postgres, name)
        ledger = PostgresLedger(url, encode, warns=False)
        assert ledger.read(lambda r: r._session.one(tuple, "SHOW plan_cache_mode")) == ("force_generic_plan",)
        for n in range(8):
            for order in ORDERS:
                ledger.read(lambda r, order=order: r.queue(ALL, order, Position(None, COUNT // 2), 0, 20))
                ledger.read(lambda r, order=order: r.listing.look(("approved",), ALL, order, None, 20, 500))
                ledger.read(lambda r, order=order: r.queue(CandidateFilter(model_names=("m1",)), order, None, 0, 20))
            ledger.write(lambda tx, n=n: review.submit(tx, decision(COUNT - 10 - n))).result()
            held = ledger.write(lambda tx: claims.claim(tx, ClaimRequest("dan", 2))).result()
            leases = [one.claim.lease_id for one in held]
            ledger.write(lambda tx, leases=leases: claims.release(tx, leases, 0, "")).result()
            ledger.read(lambda r: (r.stats(ALL), r.same_prompt([b"x" * 32], 100), r.history("c000001")))
        ledger.close()
        # A connection tells what it read when it ends.
        eventually(lambda: postgres.execute(f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}'") == [])
        assert read_from_whole_tables(postgres, name) == before
    finally:
        postgres.execute(f"ALTER DATABASE {name} RESET plan_cache_mode")


def read_from_whole_tables(postgres: Postgres, name: str) -> Any:
    """The tables that grow with the store, and how many of their rows were read without an index."""
    return postgres.execute(
        "SELECT relname::text, seq_tup_read FROM pg_stat_user_tables"
        " WHERE relname IN ('records', 'bodies', 'examples', 'history', 'past', 'requests') ORDER BY 1",
        name,
    )


def test_the_measure_of_a_session_leaves_the_store_as_it_was(url: str) -> None:
    ledger = PostgresLedger(url, encode, warns=False)
    try:
        before = ledger.read(lambda r: (r.revision(), r.stats(ALL)))
        too_many(url, lambda tx: review.submit(tx, decision(COUNT - 2)))
        assert ledger.read(lambda r: (r.revision(), r.stats(ALL))) == before
    finally:
        ledger.close()
