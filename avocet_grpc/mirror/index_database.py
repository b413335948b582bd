"""The database file of the index: its tables, how it is opened, and how damage shows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

VERSION = 3
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# A key is never used again: whoever has that of a line which is gone must not take a new line for it, and the order of
# duplicates goes by it.
SCHEMA = """
CREATE TABLE files (
    file INTEGER PRIMARY KEY, incarnation TEXT NOT NULL,
    device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER,
    read_to INTEGER NOT NULL, newlines INTEGER NOT NULL, blank INTEGER NOT NULL, last_key INTEGER NOT NULL,
    level_revision INTEGER NOT NULL, level_key INTEGER NOT NULL
) STRICT;
CREATE TABLE lines (
    key INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, kind INTEGER NOT NULL, id TEXT, content BLOB,
    digest BLOB NOT NULL, offset INTEGER, length INTEGER NOT NULL,
    order_key INTEGER NOT NULL, order_number INTEGER NOT NULL, revision INTEGER NOT NULL,
    written_at REAL, is_exportable INTEGER NOT NULL, mark INTEGER NOT NULL
) STRICT;
CREATE INDEX lines_by_id ON lines (file, id) WHERE id IS NOT NULL;
CREATE INDEX other_lines ON lines (file, kind) WHERE kind <> 0;
CREATE INDEX marked_lines ON lines (file, mark) WHERE mark <> 0;
CREATE TABLE bodies (key INTEGER PRIMARY KEY, raw BLOB NOT NULL) STRICT;
CREATE TABLE removals (
    file INTEGER NOT NULL, id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (file, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE displaced (
    file INTEGER NOT NULL, name TEXT NOT NULL, device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, read_to INTEGER NOT NULL, PRIMARY KEY (file, name)
) STRICT, WITHOUT ROWID;
"""


class IndexDamaged(Exception):
    """The index cannot be read: a mirror that is started again makes it again from the files and the ledger."""


def is_damage(error: Exception) -> bool:
    """Return whether an error says that the index cannot be read any more."""
    return isinstance(error, IndexDamaged) or getattr(error, "sqlite_errorcode", None) in DAMAGED


def connect(path: Path, *, check: bool) -> sqlite3.Connection:
    """Open the database, and make its tables if it has none. `check`: read all of it.

    Raises IndexDamaged or sqlite3.Error.
    """
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if check and (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise IndexDamaged(found)
        database.execute("PRAGMA temp_store = FILE")
        if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _make(database)
    except BaseException:
        database.close()
        raise
    return database


def _make(database: sqlite3.Connection) -> None:
    """Make the tables; those of another version go."""
    database.execute("BEGIN IMMEDIATE")
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    tables = database.execute(query).fetchall()
    for (name,) in tables:
        database.execute(f'DROP TABLE "{name}"')
    for statement in filter(str.strip, SCHEMA.split(";")):
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")
