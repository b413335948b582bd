"""Values that a database of its own would order or number in another way: texts of any locale, keys of 64 bits."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.core.model import CandidateFilter, Order
from avocet_grpc.core.record import parse
from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from tests.ledger_suite import correct, encode, exported, import_candidates, undo
from tests.mirror_port_suite.support import C, Port

ALL = CandidateFilter()
FAR = 2**40
WORDS = ["b", "A", "a", "B", "é", "z", "_a", "Z", "a b", "aB", "ab", "É"]
"""A locale's order is another one than that of their code points."""
NOT_BY_CODE_POINTS = (
    "SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped"
    """ AND a.attcollation NOT IN (0, 'pg_catalog."C"'::regcollation)"""
)


def queued(ledger: PostgresLedger, order: Order) -> list[Any]:
    """The ids of the queue, page by page."""
    ids, after = list[Any](), None
    while page := ledger.read(lambda reader, after=after: reader.queue(ALL, order, after, 0, 3)):
        ids += [json.loads(item.candidate.raw)["id"] for item in page]
        after = page[-1].position
    return ids


def test_every_text_is_ordered_by_code_points_whatever_the_locale_of_the_database(database: str) -> None:
    with connect(database) as db:
        found = db.execute(NOT_BY_CODE_POINTS).fetchall()
        assert found == []
        db.execute("CREATE TABLE odd (word text)")
        assert db.execute(NOT_BY_CODE_POINTS).fetchall() == [("odd", "word")]


def test_pages_are_in_the_order_of_code_points(database: str) -> None:
    ledger = PostgresLedger(database, encode, warns=False)
    try:
        for word in WORDS:
            record = {"id": word, "status": "needs_review", "timestamp": word, "model_name": word}
            Port(ledger).take_in(C, parse(json.dumps(record).encode()))
        assert queued(ledger, Order.TIMESTAMP) == sorted(WORDS)
        assert queued(ledger, Order.TIMESTAMP_DESC) == sorted(WORDS, reverse=True)
        assert ledger.read(lambda reader: reader.stats(ALL)).by_model == dict.fromkeys(WORDS, 1)
    finally:
        ledger.close()


def test_keys_and_revisions_beyond_32_bits_are_kept(database: str) -> None:
    with connect(database) as db:
        db.execute("UPDATE head SET next_key = %s", [FAR])
    ledger = PostgresLedger(database, encode, warns=False)
    try:
        import_candidates(ledger, 8)
        for n in range(4):
            assert correct(ledger, f"c{n}").revision > 2**32
        undo(ledger, "c3")
        assert exported(ledger) == ["c0", "c1", "c2"]
        assert sorted(queued(ledger, Order.FILE)) == ["c3", "c4", "c5", "c6", "c7"]
    finally:
        ledger.close()
    with connect(database) as db:
        for table in ("records", "bodies", "examples"):
            assert db.execute(f"SELECT min(key) >= {FAR} FROM {table}".encode()).fetchone() == (True,), table
