"""A PostgreSQL session that measures each statement before it runs it: how many rows the plan looks at."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from psycopg import Cursor, sql

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.store.postgres.connect import Connection, connect
from avocet_grpc.store.postgres.head import Head
from avocet_grpc.store.postgres.session import PARAMETER, PostgresSession
from avocet_grpc.store.sql.dialect import NOTHING, Row
from avocet_grpc.store.sql.group import Run
from tests.ledger_suite import encode

TYPES = {int: "bigint", str: "text", bytes: "bytea", float: "double precision", bool: "boolean"}
MODES = ("force_custom_plan", "force_generic_plan")
"""A plan for these values, and the plan for any values, which PostgreSQL may take after five runs."""
EXPLAIN = "EXPLAIN (ANALYZE, TIMING off, FORMAT JSON) EXECUTE measured"


class ExplainedSession(PostgresSession):
    """Notes the most rows that each statement's plans looked at, and the indexes by which, by the statement's text."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, time.time)
        self.looked_at: dict[str, int] = {}
        self.indexes: dict[str, set[str]] = {}

    def each(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Iterator[Row]:
        self._measure(sql, values)
        yield from super().each(kind, sql, values)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        # What is explained must answer at once.
        yield

    def _run(self, sql: str, values: Mapping[str, Any]) -> Cursor[tuple[Any, ...]]:
        self._measure(sql, values)
        return super()._run(sql, values)

    def _measure(self, statement: str, values: Mapping[str, Any]) -> None:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")):
            return
        names = [*dict.fromkeys(PARAMETER.findall(statement))]
        text = PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
        types = ", ".join(TYPES.get(type(values[name]), "unknown") for name in names)
        given = sql.SQL(", ").join(sql.Literal(values[name]) for name in names).as_string(self._db)
        self._db.execute(f"PREPARE measured {f'({types})' if names else ''} AS {text}".encode())
        for mode in MODES:
            self._db.execute(f"SET LOCAL plan_cache_mode = {mode}; SAVEPOINT measured".encode())
            row = self._db.execute(f"{EXPLAIN}{f'({given})' if names else ''}".encode()).fetchone()
            assert row is not None
            self._db.execute("ROLLBACK TO measured")
            plan = row[0][0]["Plan"]
            self.looked_at[statement] = max(rows_of(plan), self.looked_at.get(statement, 0))
            self.indexes.setdefault(statement, set()).update(indexes_of(plan))
        self._db.execute("DEALLOCATE measured")


def rows_of(plan: dict[str, Any]) -> int:
    """How many rows the scans of a plan looked at, those that they dropped included."""
    rows = sum(rows_of(part) for part in plan.get("Plans", []))
    if "Scan" in plan["Node Type"]:
        names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
        rows += int(sum(plan.get(name, 0) for name in names) * plan["Actual Loops"])
    return rows


def indexes_of(plan: dict[str, Any]) -> set[str]:
    """The indexes by which a plan's scans find rows."""
    found = set().union(*(indexes_of(part) for part in plan.get("Plans", [])))
    return found | ({plan["Index Name"]} if "Index Name" in plan else set())


def explained(url: str, work: Callable[[Any], Any]) -> ExplainedSession:
    """Run a work as a commit would, and undo it."""
    with connect(url) as db:
        plain = PostgresSession(db, time.time)
        locked = Head("explained").lock(db, plain)
        session = ExplainedSession(db)
        run = Run(session, locked.head, encode, lambda error: isinstance(error, psycopg.Error))
        run.fetch([work])
        outcome = run.outcome(work)
        if isinstance(outcome, Exception):
            assert not isinstance(outcome, CorrectionsError), outcome
            raise outcome
        run.finish()
        db.execute("ROLLBACK")
    assert session.looked_at
    return session
