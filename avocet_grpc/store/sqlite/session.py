"""A SQLite connection as the shared statements use it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from avocet_grpc.store.sql.dialect import NOTHING, Dialect, Row
from avocet_grpc.store.sqlite.compression import LONGEST_EXAMPLE, CompressedLines, example_size

SQLITE = Dialect(
    blob="BLOB",
    text="TEXT",
    row_number="INTEGER PRIMARY KEY",
    counted="INTEGER PRIMARY KEY",
    clustered=" WITHOUT ROWID",
    scan=" NOT INDEXED",
    by_index=" INDEXED BY {0}",
    alone="",
    any_length="{0}",
    longest_indexed=None,
    # Without a look at what is long, which is stored as it is.
    example_size=f"CASE WHEN length(encoded) > {LONGEST_EXAMPLE} THEN length(encoded) ELSE example_size(encoded) END",
    lines_apart=True,
    finds_places=False,
    indexes_last=True,
)

JOURNAL_BYTES = 64 * 1024 * 1024
# SQLite would not tell of a failure in an automatic checkpoint, and try it again.
DURABLE = (
    "journal_mode = WAL",
    "wal_autocheckpoint = 0",
    f"journal_size_limit = {JOURNAL_BYTES}",
    "synchronous = FULL",
)
SMALL_TEMPORARY, LARGE_TEMPORARY = "temp_store = MEMORY", "temp_store = FILE"
"""Where SQLite keeps what it needs for a while.

A statement that changes many rows keeps each page as it was, to take itself back alone. In a file, that would write
almost as much as the changes do. What it needs to make an index is as large as a table, and too much for memory.
"""
WRITING = (*DURABLE, SMALL_TEMPORARY)
QUICK = ("journal_mode = MEMORY", "synchronous = OFF")
"""For a database that is thrown away unless it is completed."""

# Enough for the inner pages of a large ledger; the operating system has the others. Larger ones fill for hours, which
# looks like a leak.
WRITER_CACHE_KB = 8 * 1024
READER_CACHE_KB = 1024
LOADING_CACHE_KB = 64 * 1024

ALONE = contextlib.nullcontext()
"""A statement costs no round trip, so there is nothing to send together."""
MOST_ROWS = 64
"""Rows a statement."""
ANY_LENGTH = 24
"""How many rows one statement inserts; of more, powers of two."""
BUSY_S = 30.0
KEPT_BYTES = 1_000_000
"""Of lines that a reader keeps as they were unpacked: some hundred of 2 KB."""
LARGE = 256 * 1024
"""Bytes or characters of a value that is inserted alone."""
WITH_LARGE = frozenset({"bodies", "examples", "history", "requests"})
"""The tables whose rows may have such values."""


def connect(
    path: Path | None, settings: Sequence[str] = DURABLE, cache_kb: int = READER_CACHE_KB
) -> sqlite3.Connection:
    """Open the database at `path`; None opens one in memory. Raises sqlite3.Error."""
    db = sqlite3.connect(
        ":memory:" if path is None else str(path),
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=BUSY_S,
    )
    set_up(db, settings if path is not None else (), cache_kb)
    return db


def set_up(connection: sqlite3.Connection, settings: Sequence[str], cache_kb: int) -> None:
    """Give a connection these settings. Raises sqlite3.Error."""
    for pragma in (*settings, f"cache_size = -{cache_kb}"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


class SqliteSession:
    """Implements `store.sql.dialect.Session`. `lenient` and `kept_bytes` are those of `CompressedLines`."""

    dialect = SQLITE

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Callable[[], float] = time.time,
        *,
        lenient: bool = False,
        kept_bytes: int = 0,
    ) -> None:
        self.connection = self._db = connection
        self._clock = clock
        connection.create_function("example_size", 1, example_size, deterministic=True)
        self.lines = CompressedLines(self, lenient=lenient, kept_bytes=kept_bytes)

    def now(self) -> float:
        return self._clock()

    def each(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Iterator[Row]:
        return map(_maker(kind), self._db.execute(sql, values))

    def all(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        return [*map(_maker(kind), self._db.execute(sql, values))]

    def one(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> Row | None:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else _maker(kind)(row)

    def integers(self, kind: type[Row], sql: str, values: Mapping[str, Any] = NOTHING) -> list[Row]:
        # One row for all: each row lets go of the interpreter's lock and has to win it back.
        made: Any = kind
        columns = " || ' ' || ".join(made._fields)
        found = self._db.execute(f"SELECT group_concat({columns}, ' ') FROM ({sql})", values).fetchone()[0]
        numbers = map(int, found.split() if found else ())
        return [*map(made._make, zip(*[numbers] * len(made._fields), strict=True))]

    def stored_lines(self, keys: Sequence[int]) -> list[bytes]:
        # One row for all, as above.
        return [*self._db.execute(_stored_lines(len(keys)), keys).fetchone()] if keys else []

    def number(self, sql: str, values: Mapping[str, Any] = NOTHING) -> int:
        number: int = self._db.execute(sql, values).fetchone()[0]
        return number

    def execute(self, sql: str, values: Mapping[str, Any] = NOTHING) -> int:
        return self._db.execute(sql, values).rowcount

    def batch(self) -> AbstractContextManager[None]:
        return ALONE

    def insert(self, table: str, rows: Sequence[tuple[Any, ...]], on_conflict: str = "") -> None:
        if not rows:
            return
        if table in WITH_LARGE and any(map(_is_large, rows)):
            for row in rows:
                self._insert_alone(table, row, on_conflict)
            return
        start = 0
        while start < len(rows):
            # Few different lengths, so that few statements a table are prepared.
            left = len(rows) - start
            length = left if left <= ANY_LENGTH else min(MOST_ROWS, 1 << left.bit_length() - 1)
            part = rows[start : start + length]
            values = [*part[0]] if length == 1 else [*chain.from_iterable(part)]
            self._db.execute(_insert(table, type(part[0]), length, on_conflict), values)
            start += length

    def _insert_alone(self, table: str, row: tuple[Any, ...], on_conflict: str) -> None:
        kind: Any = type(row)
        statement = _insert_if(table, kind._fields, on_conflict)
        self._db.execute(statement, [*row, 1])
        # The driver keeps the statement, and with it a copy of all values until it is run with others.
        self._db.execute(statement, [None] * len(row) + [0])


def _is_large(row: tuple[Any, ...]) -> bool:
    # A generator would take several times as long, for each row of these tables.
    for value in row:
        kind = type(value)
        if (kind is str or kind is bytes) and len(value) > LARGE:
            return True
    return False


@lru_cache(maxsize=64)
def _stored_lines(count: int) -> str:
    return f"SELECT {', '.join(['(SELECT raw FROM bodies WHERE key = ?)'] * count)}"


@lru_cache(maxsize=64)
def _insert_if(table: str, columns: tuple[str, ...], on_conflict: str) -> str:
    """Return a statement that inserts one row if its last value is 1, and nothing if it is 0."""
    values = ",".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} WHERE ? {on_conflict}"


@lru_cache(maxsize=256)
def _insert(table: str, kind: Any, rows: int, on_conflict: str) -> str:
    one = f"({','.join('?' * len(kind._fields))})"
    return f"INSERT INTO {table} ({', '.join(kind._fields)}) VALUES {','.join([one] * rows)} {on_conflict}"


def _maker(kind: Any) -> Any:
    return kind if kind is tuple else kind._make
