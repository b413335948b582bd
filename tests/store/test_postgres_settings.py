"""Settings of the database on which the service's promises rest: which are refused, which are warned of, and how."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.settings import UnsafeDatabase, refuse_if_unsafe
from tests.cluster.support import own_postgres
from tests.ledger_suite import encode
from tests.support import eventually


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_database_that_would_lose_changes_is_refused(name: str) -> None:
    with own_postgres() as own:
        url = own.new_database()
        own.execute(f"ALTER SYSTEM SET {name} = off")
        own.execute("SELECT pg_reload_conf()")
        eventually(lambda: own.execute(f"SHOW {name}") == [("off",)])
        with pytest.raises(UnsafeDatabase, match=name):
            PostgresLedger(url, encode)


def test_a_database_without_a_standby_is_warned_of(database: str) -> None:
    with connect(database) as db:
        assert "one machine" in str(refuse_if_unsafe(db))
        db.execute("SET synchronous_commit = off")
        with pytest.raises(UnsafeDatabase, match="synchronous_commit"):
            refuse_if_unsafe(db)
