"""A database with the tables of the version before is brought up to date with all that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.core import claims
from avocet_grpc.core.model import CandidateFilter, Order
from avocet_grpc.store.postgres import migrate
from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from tests.ledger_suite import correct, encode, exported, import_candidates, undo
from tests.postgres import TEMPLATE, Postgres
from tests.team_suite.support import claim, holders, ids, widest

ALL = CandidateFilter()
SHAPE = (
    "SELECT tablename::text, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    " UNION SELECT c.relname::text, a.attname || ' ' || format_type(a.atttypid, NULL) || ' ' || a.attnotnull"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'r'"
    " AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2"
)


@pytest.fixture
def before(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database as the steps of the version before leave it, and some data."""
    url = postgres.new_database("template0")
    with monkeypatch.context() as patch, connect(url) as db:
        patch.setattr(migrate, "VERSION", migrate.VERSION - 1)
        patch.setattr(migrate, "STEPS", migrate.STEPS[:-1])
        migrate.migrate(db)
        ledger = PostgresLedger(url, encode, warns=False)
        import_candidates(ledger, 8)
        correct(ledger, "c0")
        undo(ledger, "c0")
        correct(ledger, "c1")
        claim(ledger, "ann", 2)
        [held] = claim(ledger, "bob")
        ledger.write(lambda tx: claims.release(tx, [held.claim.lease_id], 3_600, "")).result()
        ledger.close()
    yield url
    postgres.drop(url)


def said(ledger: PostgresLedger) -> Any:
    def read(reader: Any) -> Any:
        queue = [item.candidate for item in reader.queue(ALL, Order.FILE, None, 0, 99)]
        held = [reader.claims.held_by(name) for name in ("ann", "bob")]
        return reader.stats(ALL), queue, held, reader.history("c0"), reader.revision()

    return ledger.read(read), exported(ledger), holders(ledger, "c0", "c2", "c3")


def test_the_tables_of_the_version_before_become_those_of_this_one_with_their_data(
    before: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(migrate.SchemaUnusable, match=f"version {migrate.VERSION - 1}, not {migrate.VERSION}; run: "):
        PostgresLedger(before, encode)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "VERSION", migrate.VERSION - 1)
        old = PostgresLedger(before, encode, warns=False)
    try:
        told = said(old)
        with connect(before) as db:
            assert migrate.migrate(db) == [migrate.VERSION]
            assert migrate.migrate(db) == []
            shape = db.execute(SHAPE).fetchall()
        assert shape == postgres.execute(SHAPE, TEMPLATE)
        # A server that was there before goes on beside those of this version.
        new = PostgresLedger(before, encode, warns=False)
        try:
            assert said(old) == said(new) == told
            assert [ids(claim(new, "bob")), ids(claim(old, widest("cid")))] == [["c4"], ["c3"]]
        finally:
            new.close()
    finally:
        old.close()
