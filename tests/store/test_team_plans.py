"""No statement of claims, lists and history reads more than its answer needs: EXPLAIN QUERY PLAN says by which index.

The ledger is large, and its statistics are those of a small one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_grpc.core import claims
from avocet_grpc.core.claims import ClaimRequest
from avocet_grpc.core.model import REVIEW_ORDERS, CandidateFilter, Order, Position
from avocet_grpc.core.ports.claims import ClaimState, HeldBy
from avocet_grpc.core.ports.ledger import HistoryCursor
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode
from tests.team_suite import claim, fill

ALL = CandidateFilter()
COUNT = 20_000
CLAIMED = 500
TOO_MUCH = re.compile(
    r"^(SCAN (?!\(subquery|CONSTANT ROW)(?!.* USING )"
    r"|SCAN (records|r|h|history|b|bodies)\b(?!.*USING (COVERING )?INDEX)|USE TEMP)"
)


@pytest.fixture(scope="module", params=["fresh statistics", "stale statistics", "no statistics"])
def ledger(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    ledger = SqliteLedger(DataDirectory(tmp_path_factory.mktemp("plans")), encode)
    if request.param == "stale statistics":
        fill(ledger, 20)
        claim(ledger, "early", 5)
        ledger._db.execute("ANALYZE")
    fill(ledger, COUNT)
    for _ in range(CLAIMED // 50):
        claim(ledger, "ann", 50)
    if request.param == "fresh statistics":
        ledger._db.execute("ANALYZE")
    yield ledger
    ledger.close()


def statements_of(ledger: Any, work: Callable[[Any], Any]) -> list[str]:
    statements: list[str] = []

    def traced(tx: Any) -> None:
        tx.written()
        ledger._db.set_trace_callback(statements.append)
        try:
            work(tx)
        finally:
            ledger._db.set_trace_callback(None)

    ledger.write(traced).result()
    found = [one for one in statements if one.lstrip().startswith(("SELECT", "DELETE", "UPDATE"))]
    assert found
    return found


def plan_of(ledger: Any, statement: str) -> list[str]:
    return [row[3] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {statement}")]


def too_much(ledger: Any, work: Callable[[Any], Any]) -> list[str]:
    found = []
    for statement in statements_of(ledger, work):
        found += [f"{step}: {statement}" for step in plan_of(ledger, statement) if TOO_MUCH.search(step)]
    return found


def steps(ledger: Any, work: Callable[[Any], Any]) -> int:
    """How many instructions of its virtual machine the engine runs for a work, in hundreds."""
    ticks: list[int] = []

    def counted(tx: Any) -> None:
        tx.written()
        ledger._db.set_progress_handler(lambda: ticks.append(1), 100)
        try:
            work(tx)
        finally:
            ledger._db.set_progress_handler(None, 0)

    ledger.write(counted).result()
    return len(ticks)


@pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
def test_a_claim_goes_through_the_queue_s_index_and_looks_each_claim_up_by_its_key(ledger: Any, order: Order) -> None:
    def free(tx: Any) -> None:
        assert len(tx.claims.free(ALL, order, "bob", 20)) == 20

    assert too_much(ledger, free) == []
    statements = statements_of(ledger, free)
    plan = [step for statement in statements for step in plan_of(ledger, statement)]
    assert any("SEARCH c USING INTEGER PRIMARY KEY" in step for step in plan)
    assert any("SEARCH p USING" in step for step in plan)


def test_a_claim_costs_what_a_queue_page_and_a_look_at_each_claim_before_it_cost(ledger: Any) -> None:
    queue = steps(ledger, lambda tx: tx.queue(ALL, Order.FILE, None, 0, 20))
    free = steps(ledger, lambda tx: tx.claims.free(ALL, Order.FILE, "bob", 20))
    assert free - queue < CLAIMED


@pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
def test_claims_are_looked_up_for_the_first_that_pass_a_filter_and_not_for_all(ledger: Any, order: Order) -> None:
    filter = CandidateFilter(min_quality_score=0.05, max_quality_score=0.95)
    queue = steps(ledger, lambda tx: tx.queue(filter, order, None, 0, 20))
    for held in (lambda tx: tx.claims.free(filter, order, "bob", 20), lambda tx: unclaimed(tx, filter, order)):
        assert steps(ledger, held) - queue < CLAIMED


def unclaimed(tx: Any, filter: CandidateFilter, order: Order) -> None:
    assert tx.claims.queue(HeldBy(ClaimState.UNCLAIMED, ""), filter, order, None, 0, 20)


@pytest.mark.parametrize("state", [ClaimState.UNCLAIMED, ClaimState.CLAIMED, ClaimState.MINE])
def test_a_queue_page_by_state_of_claim_does_not_go_through_the_queue(ledger: Any, state: ClaimState) -> None:
    held = HeldBy(state, "ann")

    def page(tx: Any) -> None:
        assert tx.claims.queue(held, ALL, Order.FILE, None, 0, 20)
        assert tx.claims.queue_total(held, ALL)

    assert steps(ledger, page) < 20 * CLAIMED / 100 + 100


def test_claims_are_found_counted_renewed_ended_and_swept_by_indexes(ledger: Any) -> None:
    def work(tx: Any) -> None:
        held = claims.claim(tx, ClaimRequest("cid", 3))
        leases = [one.claim.lease_id for one in held]
        tx.claims.holders([one.candidate.key for one in held])
        claims.renew(tx, leases, 600, "")
        tx.claims.held_candidates(leases)
        claims.release(tx, leases, 60, "")
        tx.claims.sweep(100)
        tx.claims.held_by("ann")

    # What has ended is swept from tables that hold claims alone, and never many.
    assert [found for found in too_much(ledger, work) if "DELETE FROM" not in found] == []


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("statuses", [(), ("needs_review",), ("approved", "discarded"), (None,)])
@pytest.mark.parametrize("place", ["start", "middle", "without the key"])
def test_a_list_looks_at_no_more_than_it_may(ledger: Any, order: Order, statuses: Any, place: str) -> None:
    value = 0.5 if "quality" in order else "2026-01-10"
    after = None if place == "start" else Position(value if place == "middle" and order != Order.FILE else None, 5_000)

    def look(tx: Any) -> None:
        tx.listing.look(statuses, ALL, order, after, 20, 1_000)

    assert too_much(ledger, look) == []
    assert steps(ledger, look) < 800


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("id", ["", "c000100"])
@pytest.mark.parametrize("after", [None, "middle"])
def test_a_page_of_history_costs_what_it_holds(ledger: Any, newest_first: bool, id: str, after: str | None) -> None:
    revision = ledger.read(lambda r: r.candidate("c010000").revision)
    cursor = HistoryCursor(revision, 10_500) if after else None

    def page(tx: Any) -> None:
        tx.log.entries(cursor, 20, id=id, newest_first=newest_first)

    assert too_much(ledger, page) == []
    assert steps(ledger, page) < 60
