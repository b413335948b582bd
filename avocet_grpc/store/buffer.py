"""Rows that wait to be written: many works' rows of a table go in by one statement.

Each step of a statement lets go of the interpreter's lock and has to win it back from the event loop, which under load
costs more than the step itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from avocet_grpc.core.ports.ledger import HistoryEntry, Remembered
from avocet_grpc.store.schema import SELECTED

Row = tuple[Any, ...]

MOST_ROWS = 64
"""Rows a statement; few different lengths, so that prepared statements are found again."""

LINE = (
    f"INSERT INTO lines (key, file, kind, id, status, {SELECTED}, recorded_at, queued, revision, digest, sync,"
    " position, length, file_digest, synced_at) VALUES "
)
DECIDED = (
    "INSERT INTO lines (key, file, kind, status, failure_category, queued, revision, digest, sync, synced_at) VALUES "
)
DECIDED_END = (
    " ON CONFLICT (key) DO UPDATE SET status = excluded.status, failure_category = excluded.failure_category,"
    " queued = excluded.queued, revision = excluded.revision, digest = excluded.digest, sync = excluded.sync"
)
BODY = "INSERT INTO bodies (key, raw) VALUES "
BODY_END = " ON CONFLICT (key) DO UPDATE SET raw = excluded.raw"
EXAMPLE = (
    f"INSERT INTO examples (key, approved_revision, removed_revision, id, shard_hash, {SELECTED}, encoded) VALUES "
)
EXAMPLE_END = (
    " ON CONFLICT (key, approved_revision) DO UPDATE SET removed_revision = excluded.removed_revision,"
    " encoded = excluded.encoded"
)
PAST = "INSERT INTO past (file, id, digest) VALUES "
PAST_END = " ON CONFLICT (file, id, digest) DO NOTHING"
HISTORY = "INSERT INTO history (revision, file, id, action, actor, at, status, previous) VALUES "
REQUEST = "INSERT INTO requests (request_id, digest, answer, at) VALUES "
COUNTER = "INSERT INTO counters (name, value, n) VALUES "
COUNTER_END = " ON CONFLICT (name, value) DO UPDATE SET n = counters.n + excluded.n"


class Buffer:
    """Rows by table. `lines` has the ids and keys of lines that the database still shows as they were before."""

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        self.lines: set[str | int] = set()
        self.requests: dict[str, tuple[Remembered, int]] = {}
        self._new: list[Row] = []
        self._decided: list[Row] = []
        self._bodies: list[Row] = []
        self._examples: list[Row] = []
        self._past: list[Row] = []
        self._history: list[Row] = []
        self.is_empty = True

    def add_line(self, id: str | None, row: Row, raw: bytes) -> None:
        """A new line; `row` is its row of the table, key first."""
        self._touch(id, row[0])
        self._new.append(row)
        self._bodies.append((row[0], raw))

    def decide_line(self, id: str, row: Row, raw: bytes) -> None:
        """New content of a line of which only what DECIDED names has changed."""
        self._touch(id, row[0])
        self._decided.append(row)
        self._bodies.append((row[0], raw))

    def add_example(self, row: Row) -> None:
        self.is_empty = False
        self._examples.append(row)

    def add_past(self, file: int, id: str, digest: bytes) -> None:
        self.is_empty = False
        self._past.append((file, id, digest))

    def add_history(self, entry: HistoryEntry) -> None:
        e = entry
        self.is_empty = False
        self.lines.add(e.id)
        self._history.append((e.revision, e.file, e.id, e.action, e.actor, e.at, e.status_after, e.change))

    def add_request(self, request_id: str, remembered: Remembered, at: int) -> None:
        self.is_empty = False
        self.requests[request_id] = (remembered, at)

    def __len__(self) -> int:
        return len(self._bodies)

    def take(self, other: Buffer) -> None:
        """All rows of another buffer, after those of this one."""
        self.lines |= other.lines
        self.requests |= other.requests
        self.is_empty = self.is_empty and other.is_empty
        for name in ("_new", "_decided", "_bodies", "_examples", "_past", "_history"):
            getattr(self, name).extend(getattr(other, name))

    def flush(self, db: sqlite3.Connection) -> None:
        """Write all rows. Raises sqlite3.Error."""
        if self.is_empty:
            return
        requests = [(id, known.digest, known.answer, at) for id, (known, at) in self.requests.items()]
        insert(db, LINE, self._new)
        insert(db, DECIDED, self._decided, DECIDED_END)
        insert(db, BODY, self._bodies, BODY_END)
        insert(db, EXAMPLE, self._examples, EXAMPLE_END)
        insert(db, PAST, self._past, PAST_END)
        insert(db, HISTORY, self._history)
        insert(db, REQUEST, requests)
        self._empty()

    def _touch(self, id: str | None, key: int) -> None:
        self.is_empty = False
        self.lines.add(key)
        if id is not None:
            self.lines.add(id)


def add_counts(db: sqlite3.Connection, counts: Iterable[tuple[tuple[str, str], int]]) -> None:
    """Add to the counters behind Stats. Raises sqlite3.Error."""
    insert(db, COUNTER, [(name, value, n) for (name, value), n in counts if n], COUNTER_END)


def insert(db: sqlite3.Connection, head: str, rows: list[Row], end: str = "") -> None:
    """`head` ends in VALUES; the rows follow, as few statements as MOST_ROWS lets it. Raises sqlite3.Error."""
    start = 0
    while start < len(rows):
        # Lengths are powers of two: 7 statements a table are prepared, and no more.
        length = min(MOST_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        part = rows[start : start + length]
        one = f"({','.join('?' * len(part[0]))})"
        db.execute(f"{head}{','.join([one] * length)}{end}", [value for row in part for value in row])
        start += length
