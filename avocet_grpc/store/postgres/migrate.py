"""The tables in PostgreSQL, made and brought up to date by `avocet-grpc migrate`.

Each step runs once, in its own transaction, and leaves servers of the version before able to work: first expand, then
deploy, and only a later version's step may take anything away.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files

import psycopg

from avocet_grpc.store.postgres.connect import Connection, DatabaseUnusable
from avocet_grpc.store.postgres.head import note_home
from avocet_grpc.store.postgres.session import POSTGRES, PostgresSession
from avocet_grpc.store.sql import queries, schema

VERSION = 2
"""Of the schema in PostgreSQL: the number of its last step."""
LOCK = "LOCK TABLE avocet_schema IN ACCESS EXCLUSIVE MODE"
NEWER = "the database has the tables of version {0}, and this program knows {1}: use a newer one"
HEAD = (
    "INSERT INTO head (revision, next_key, mirror_epoch, incarnation, first_revision, pruned_revision)"
    " SELECT r, 1, 0, %s, r, 0 FROM (SELECT floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS r) now"
)
BEGAN = f"INSERT INTO meta (name, value) SELECT '{queries.BEGAN}', revision FROM head"


class SchemaUnusable(DatabaseUnusable):
    """The database's tables are not those of this version; the text says what to run."""


def version_of(connection: Connection) -> int:
    """Return the schema's version; 0 if there is none. Raises psycopg.Error."""
    found = connection.execute("SELECT to_regclass('avocet_schema')").fetchone()
    if found is None or found[0] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM avocet_schema").fetchone()
    return int(row[0]) if row else 0


def refuse_other_schema(connection: Connection, shown: str) -> None:
    """Raises SchemaUnusable unless the schema is this version's, or psycopg.Error."""
    version = version_of(connection)
    if version < VERSION:
        what = "has no tables yet" if version == 0 else f"has the tables of version {version}, not {VERSION}"
        raise SchemaUnusable(f"the database {what}; run: avocet-grpc migrate --store {shown}")
    if version > VERSION:
        raise SchemaUnusable(NEWER.format(version, VERSION))


MADE_AT_THIS_MOMENT = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.DuplicateObject,
    psycopg.errors.DuplicateTable,
)
"""What PostgreSQL says if another one makes the same table: by which of its catalogs it notices is left to chance."""


def migrate(connection: Connection) -> list[int]:
    """Bring the schema up to date, however many do it at once. Returns the steps that were run.

    Raises SchemaUnusable, psycopg.Error.
    """
    with contextlib.suppress(*MADE_AT_THIS_MOMENT):
        connection.execute("CREATE TABLE IF NOT EXISTS avocet_schema (version integer PRIMARY KEY)")
    if (version := version_of(connection)) > VERSION:
        raise SchemaUnusable(NEWER.format(version, VERSION))
    done = []
    for number, step in enumerate(STEPS, 1):
        with connection.transaction():
            connection.execute(LOCK)
            if version_of(connection) >= number:
                continue
            for statement in step():
                connection.execute(statement.encode())
            if number == 1:
                connection.execute(HEAD, [secrets.token_hex(16)])
                connection.execute(BEGAN.encode())
                note_home(connection, PostgresSession(connection, time.time))
            connection.execute("INSERT INTO avocet_schema (version) VALUES (%s)", [number])
        done.append(number)
    return done


def _first() -> Iterator[str]:
    """Yield the tables that all engines share, and those that only several servers need."""
    yield from schema.statements(POSTGRES)
    yield from _file("0001.sql")


def _second() -> Iterator[str]:
    return _file("0002.sql")


def _file(name: str) -> Iterator[str]:
    text = files("avocet_grpc.store.postgres").joinpath("migrations", name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return (one for one in "\n".join(lines).split(";\n") if one.strip())


STEPS: tuple[Callable[[], Iterable[str]], ...] = (_first, _second)
