"""The index of texts, of `serve --search`: a follower of the ledger in a database of its own, which may be deleted.

It has the trigrams of each candidate's texts, and of those that it had before: whoever searches looks at the candidate
itself again. So nothing is ever taken out, and the ledger's commits do not pay for it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from avocet_grpc.core.forms import searched_texts
from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Changed, Cursor, FeedExpired, MirrorLedger, MirrorReader
from avocet_grpc.core.record import load, replace_surrogates

STEP = 250
"""Candidates that one commit takes in."""
TELL_EVERY_S = 5.0
MOST_TRIGRAMS = 64
"""About so many of a long text are asked for."""
VERSION = 1
TABLES = (
    "CREATE TABLE state (incarnation TEXT NOT NULL, version INTEGER NOT NULL, built INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, key INTEGER NOT NULL, level INTEGER NOT NULL)",
    "CREATE VIRTUAL TABLE texts USING fts5(text, content='', columnsize=0, detail=none, tokenize='trigram')",
)
T = TypeVar("T")
SUFFIXES = ("", "-wal", "-shm")

log = structlog.get_logger("avocet_grpc")


class CannotSearch(Exception):
    """This Python's SQLite cannot index texts."""


class State(NamedTuple):
    """How far the index is. While it is built, `key` is the last candidate taken in and `level` the revision of its
    beginning; later (`revision`, `key`) is its place in the change feed, and all up to `level` is in it."""

    incarnation: str
    version: int
    built: int
    revision: int
    key: int
    level: int


def refuse_without_trigrams() -> None:
    """Raises CannotSearch if SQLite lacks FTS5 or its trigrams, which came with 3.34."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(TABLES[1])
        except sqlite3.OperationalError as error:
            version = sqlite3.sqlite_version
            raise CannotSearch(
                f"--search needs SQLite 3.34 or newer with FTS5; this Python has {version} ({error})"
            ) from error


def delete(path: Path) -> None:
    """Delete an index, if there is one."""
    for suffix in SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class SearchFollower:
    """Keeps the index at `path` up to date with the ledger; one process at a time."""

    def __init__(self, path: Path, ledger: MirrorLedger) -> None:
        self._path, self._ledger = path, ledger
        self._connection: sqlite3.Connection | None = None
        self._told = time.monotonic()

    def step(self) -> bool:
        """Take in a little. Returns whether more is left. Raises sqlite3.Error, OSError."""
        connection = self._open()
        with self._ledger.view() as view:
            head, state = view.head(), _state(connection)
            if state is None or state.incarnation != head.incarnation:
                state = self._begin(connection, State(head.incarnation, VERSION, 0, head.revision, 0, head.revision))
            try:
                new, found = _next(view, state, head.revision)
            except FeedExpired:
                self._begin(connection, State(head.incarnation, VERSION, 0, head.revision, 0, head.revision))
                return True
        if new == state:
            return False
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", _texts(found))
        _put(connection, new)
        connection.execute("COMMIT")
        self._tell(new)
        return bool(found) or not new.built

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
        return self._connection

    def _begin(self, connection: sqlite3.Connection, state: State) -> State:
        log.info("indexing texts from the beginning")
        connection.execute("BEGIN IMMEDIATE")
        for table in ("state", "texts"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in TABLES:
            connection.execute(statement)
        _put(connection, state)
        connection.execute("COMMIT")
        return state

    def _tell(self, state: State) -> None:
        if state.built or time.monotonic() - self._told < TELL_EVERY_S:
            return
        self._told = time.monotonic()
        log.info("indexing texts", up_to_key=state.key)


class SearchIndex:
    """Implements `core.ports.search.Search`. Each call has a connection of its own, so threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def level(self) -> int | None:
        state = self._asked(_state)
        return state.level if state is not None and state.built else None

    def keys(self, text: str, after_key: int, limit: int) -> list[int] | None:
        wanted = _trigrams(text)
        if not wanted:
            return None
        query = "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid > ? ORDER BY rowid LIMIT ?"
        return self._asked(lambda c: [key for (key,) in c.execute(query, (wanted, after_key, limit))])

    def _asked(self, ask: Callable[[sqlite3.Connection], T]) -> T | None:
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection,
        ):
            return ask(connection)
        return None


def _next(view: MirrorReader, state: State, head: int) -> tuple[State, list[Changed]]:
    """Return the next state, and what has to be taken in for it."""
    if not state.built:
        found = view.records(File.CANDIDATES, state.key, STEP)
        if found:
            return state._replace(key=found[-1].key), found
        return state._replace(built=1, key=0), []
    found = view.changes(File.CANDIDATES, Cursor(state.revision, state.key), STEP)
    if not found:
        return state._replace(level=head), []
    last = found[-1]
    return state._replace(revision=last.revision, key=last.key, level=last.revision - 1), found


def _texts(found: Iterable[Changed]) -> Iterable[tuple[int, str]]:
    for one in found:
        if one.raw is not None:
            text = "\n".join(searched_texts(load(one.raw)))
            yield one.key, replace_surrogates(text).replace("\0", " ")


def _trigrams(text: str) -> str:
    """Return the query for trigrams of the text; empty if it has none that the index knows."""
    found = {text[at : at + 3] for at in range(0, len(text) - 2, max(1, len(text) // MOST_TRIGRAMS))}
    return " AND ".join('"' + one.replace('"', '""') + '"' for one in sorted(found) if "\0" not in one)


def _state(connection: sqlite3.Connection) -> State | None:
    try:
        row = connection.execute(f"SELECT {', '.join(State._fields)} FROM state").fetchone()
    except sqlite3.OperationalError:
        return None
    state = State(*row) if row else None
    return state if state is not None and state.version == VERSION else None


def _put(connection: sqlite3.Connection, state: State) -> None:
    connection.execute("DELETE FROM state")
    connection.execute(f"INSERT INTO state VALUES ({','.join('?' * len(state))})", state)
