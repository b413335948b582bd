"""A page far behind costs SQLite as much as the first one, also if all records have one value in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.model import REVIEW_ORDERS, CandidateFilter, File, Order, ParsedLine, Position
from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.session import SqliteSession
from tests.ledger_suite import candidate_line, encode

COUNT = 4_000
LIMIT = 20
SAME: dict[str, Any] = {"timestamp": "2026-01-01", "quality_score": 0.5, "reviewed_at": "2026-01-02"}
EACH = 10
"""Steps of SQLite's machine between two counts."""
ANY = CandidateFilter()
IN_QUALITY = CandidateFilter(task_types=("qa",), min_quality_score=0.1)


@pytest.fixture(scope="module", params=["needs_review", "discarded"])
def ledger(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[SqliteLedger]:
    """All candidates have one value in each order, and one revision."""
    directory: Path = tmp_path_factory.mktemp("far")
    ledger = SqliteLedger(DataDirectory(directory), encode)
    lines: list[ParsedLine] = [candidate_line(number, **SAME, status=request.param) for number in range(COUNT)]
    mirror = ledger.mirror()
    assert len([*mirror.adopt(mirror.take_over(), File.CANDIDATES, iter(lines))]) == COUNT
    yield ledger
    ledger.close()


def steps(ledger: SqliteLedger, work: Callable[[Any], Any], wanted: int = LIMIT) -> int:
    """How many steps SQLite's machine takes for a page, which must have `wanted` rows."""
    taken = [0]

    def count() -> int:
        taken[0] += EACH
        return 0

    ledger._db.set_progress_handler(count, EACH)
    try:
        assert len(ledger.write(work).result()) == wanted
    finally:
        ledger._db.set_progress_handler(None, 0)
    return taken[0]


def check(ledger: SqliteLedger, page: Callable[[Any, Position], Any], value: Any, *, descending: bool) -> None:
    keys = (COUNT - 1, 100) if descending else (1, COUNT - 100)
    first, far = (steps(ledger, lambda tx, key=key: page(tx, Position(value, key))) for key in keys)
    assert far < 1.5 * first + 100, (first, far)


def value_in(order: Order) -> Any:
    if order is Order.FILE:
        return None
    return 0.5 if "quality" in order else "2026-01-02" if order in REVIEW_ORDERS else "2026-01-01"


@pytest.mark.parametrize("ledger", ["needs_review"], indirect=True)
@pytest.mark.parametrize("filter", [ANY, IN_QUALITY], ids=["any", "filtered"])
@pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
def test_a_page_of_the_queue(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch, order: Order, filter: CandidateFilter
) -> None:
    if filter is not ANY:
        # As with many candidates: few are sorted for each page.
        monkeypatch.setattr("avocet_grpc.store.sql.queue.FEW", 0)
    check(
        ledger,
        lambda tx, after: tx.queue(filter, order, after, 0, LIMIT),
        value_in(order),
        descending="desc" in order,
    )


@pytest.mark.parametrize("by_status", [False, True], ids=["any status", "its status"])
@pytest.mark.parametrize("order", Order)
def test_a_page_of_candidates(ledger: SqliteLedger, order: Order, by_status: bool) -> None:
    queued = bool(ledger.read(lambda reader: reader.queue_total(ANY)))
    statuses = ["needs_review" if queued else "discarded"] if by_status else []

    def page(tx: Any, after: Position) -> Any:
        return tx.listing.look(statuses, ANY, order, after, LIMIT, 1_000).found

    check(ledger, page, value_in(order), descending="desc" in order)


def test_a_page_of_the_mirror_s_feed(ledger: SqliteLedger) -> None:
    head = ledger.read(lambda reader: reader.revision())

    def page(_: Any, after: Position) -> Any:
        reader = SqlMirrorReader(SqliteSession(ledger._db))
        return reader.changes(File.CANDIDATES, Cursor(head, after.key), LIMIT)

    check(ledger, page, None, descending=False)
