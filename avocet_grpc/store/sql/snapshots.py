"""Snapshots: revisions with a name. A deleted one goes on keeping what it kept, for 7 days."""

from __future__ import annotations

from typing import NamedTuple

from avocet_grpc.core.ports.snapshots import Snapshot
from avocet_grpc.core.retention import RESUMABLE_SECONDS
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.queries import Queries

RESUMES_FLOOR = "resumes_floor"

COLUMNS = "name, revision, note, created_by, created_at, example_count, number"


class SnapshotRow(NamedTuple):
    """A row of `snapshots`, without the number that the table gives; `deleted_at` is Unix time in seconds, or 0."""

    name: str
    revision: int
    note: str
    created_by: str
    created_at: str
    example_count: int
    deleted_at: float


class _Named(NamedTuple):
    name: str
    revision: int
    note: str
    created_by: str
    created_at: str
    example_count: int
    number: int


class Snapshots:
    """Implements `core.ports.snapshots.SnapshotTable` on one session."""

    def __init__(self, session: Session, queries: Queries) -> None:
        self._session, self._queries = session, queries

    def find(self, name: str) -> Snapshot | None:
        query = f"SELECT {COLUMNS} FROM snapshots WHERE name = :name AND deleted_at = 0"
        row = self._session.one(_Named, query, {"name": name})
        return Snapshot(*row) if row else None

    def page(self, before: int | None, limit: int) -> list[Snapshot]:
        where, values = "deleted_at = 0", {"limit": limit}
        if before is not None:
            where, values = f"{where} AND number < :before", values | {"before": before}
        query = f"SELECT {COLUMNS} FROM snapshots WHERE {where} ORDER BY number DESC LIMIT :limit"
        return [Snapshot(*row) for row in self._session.all(_Named, query, values)]

    def count(self) -> int:
        return self._session.number("SELECT count(*) FROM snapshots WHERE deleted_at = 0")

    def oldest_resumable(self) -> int:
        return self._queries.meta(RESUMES_FLOOR) or self._queries.head().first_revision

    def pins(self, revision: int) -> bool:
        query = "SELECT count(*) FROM snapshots WHERE revision = :revision AND (deleted_at = 0 OR deleted_at > :since)"
        since = self._session.now() - RESUMABLE_SECONDS
        return self._session.number(query, {"revision": revision, "since": since}) > 0

    def add(self, snapshot: Snapshot) -> None:
        s = snapshot
        row = SnapshotRow(s.name, s.revision, s.note, s.created_by, s.created_at, s.example_count, 0)
        self._session.insert("snapshots", [row])

    def remove(self, name: str) -> None:
        statement = "UPDATE snapshots SET deleted_at = :now WHERE name = :name AND deleted_at = 0"
        self._session.execute(statement, {"name": name, "now": self._session.now()})
