"""The history in order, for those who list or follow it."""

from __future__ import annotations

from typing import Any

from avocet_grpc.core.history import END, names_of
from avocet_grpc.core.model import PAGE_BYTES
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.queries import Noted, Queries, entry_of
from avocet_grpc.store.sql.room import check_room

COLUMNS = "number, revision, file, id, action, actor, at, status_before, status_after, {change}, made_by"
NAMES_MOST = 4_000
"""Characters of a change in which its names nearly always end; its values may be megabytes."""
FLOOR = "history_floor"


class History:
    """Implements `core.ports.history.HistoryLog` on one session."""

    def __init__(self, session: Session, queries: Queries) -> None:
        self._session, self._queries = session, queries

    def floor(self) -> int:
        return self._queries.meta(FLOOR) or self._queries.head().first_revision

    def entries(
        self, after: HistoryCursor | None, limit: int, *, id: str = "", newest_first: bool = False, values: bool = False
    ) -> list[HistoryEntry]:
        columns = COLUMNS.format(change="change" if values else f"substr(change, 1, {NAMES_MOST}) AS change")
        table = f"history{self._session.dialect.by_index.format('history_by_id')}" if id else "history"
        parameters: dict[str, Any] = {"id": id, "limit": limit, "number": self._number_of(after, newest_first)}
        # Numbers grow with revisions: in the order of numbers lies the order of both.
        where = f"{'id = :id AND ' if id else ''}number {'<' if newest_first else '>'} :number"
        order = "number DESC" if newest_first else "number"
        query = f"SELECT {columns} FROM {table} WHERE {where} ORDER BY {order} LIMIT :limit"
        if not values:
            return [entry_of(self._with_names(row)) for row in self._session.all(Noted, query, parameters)]
        found, size = list[HistoryEntry](), 0
        for row in self._session.each(Noted, query, parameters):
            size += len(row.change or "")
            check_room(size)
            found.append(entry_of(row))
            if size > PAGE_BYTES:
                break
        return found

    def _number_of(self, after: HistoryCursor | None, newest_first: bool) -> int:
        if after is None:
            return END if newest_first else 0
        return after.number if after.number != END else self._queries.last_number(after.revision)

    def _with_names(self, row: Noted) -> Noted:
        """Return the row with a change that has all its names, whatever else of it is cut off."""
        if row.change is not None and len(row.change) == NAMES_MOST:
            try:
                names_of(row.change)
            except ValueError:
                query = f"SELECT {COLUMNS.format(change='change')} FROM history WHERE number = :number"
                return self._session.one(Noted, query, {"number": row.number}) or row
        return row
