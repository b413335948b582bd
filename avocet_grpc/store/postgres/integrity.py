"""Whether a ledger in a database is what the service wrote: what `verify --store` asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psycopg

from avocet_grpc.store.postgres.connect import connect, shown
from avocet_grpc.store.postgres.failure import text_of
from avocet_grpc.store.postgres.migrate import refuse_other_schema
from avocet_grpc.store.postgres.session import PostgresSession

AMCHECK = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'amcheck'"
INDEXES = (
    "SELECT i.indexrelid::bigint, c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_class t ON t.oid = i.indrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'btree' AND i.indisvalid"
    " AND t.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('records')) ORDER BY c.relname"
)


@contextlib.contextmanager
def opened(url: str) -> Iterator[PostgresSession]:
    """One consistent view of the ledger; nothing is written to it. Raises DatabaseUnusable, psycopg.Error."""
    with contextlib.closing(connect(url)) as db:
        refuse_other_schema(db, shown(url))
        yield PostgresSession(db, time.time, reading=True)


def wrong_indexes(url: str) -> Iterator[str]:
    """Yield what PostgreSQL's own check finds in each index. Raises IndexesNotChecked, psycopg.Error."""
    with contextlib.closing(connect(url)) as db:
        extension = db.execute(AMCHECK).fetchone()
        if extension is None:
            raise IndexesNotChecked("CREATE EXTENSION amcheck in the database lets verify do it")
        for index, name in db.execute(INDEXES).fetchall():
            try:
                db.execute(f"SELECT {extension[0]}.bt_index_check(%s::bigint::oid::regclass, true)", [index])
            except psycopg.errors.InsufficientPrivilege as error:
                raise IndexesNotChecked(text_of(error)) from None
            except (psycopg.errors.IndexCorrupted, psycopg.errors.DataCorrupted) as error:
                yield f"the index {name} is damaged: {text_of(error)}"


class IndexesNotChecked(Exception):
    """PostgreSQL cannot check them here; the text says why, or what would help."""
