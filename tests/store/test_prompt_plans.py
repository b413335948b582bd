"""Queries about prompts go by their indexes, however many candidates there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from avocet_grpc.core.model import CandidateFilter, ExportSelection
from avocet_grpc.store.sql import schema
from avocet_grpc.store.sql.exports import ExportQueries
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sqlite.session import SQLITE, SqliteSession


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema.statements(SQLITE):
        made.execute(statement)
    yield made
    made.close()


def steps(connection: sqlite3.Connection, statements: list[str]) -> list[str]:
    """The steps of the plan of the last statement."""
    connection.set_trace_callback(None)
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[-1]}")]


def test_the_same_prompt_is_counted_by_its_index(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    Queries(SqliteSession(connection)).same_prompt([b"\0" * 32], 101)
    plan = steps(connection, statements)
    assert any("USING INDEX records_by_prompt" in step for step in plan), plan


@pytest.mark.parametrize("filter", [CandidateFilter(), CandidateFilter(task_types=("qa",))])
def test_a_later_approval_of_a_prompt_is_found_by_its_index(
    connection: sqlite3.Connection, filter: CandidateFilter
) -> None:
    session = SqliteSession(connection)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    selection = ExportSelection(7, filter=filter, unique_prompts=True)
    ExportQueries(session, Queries(session)).export_batch(selection, 0, 10, 1000)
    plan = steps(connection, statements)
    assert any(step.startswith("SEARCH later USING INDEX examples_by_prompt") for step in plan), plan
    assert not any(step.startswith("SCAN e") for step in plan), plan
