"""Looking at a ledger that a server may have open, or that nobody can open any more."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import START, Changed, Cursor
from avocet_grpc.core.record import is_content_digest, load
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.rows import NEVER
from avocet_grpc.store.sql.schema import VERSION
from avocet_grpc.store.sqlite.failure import kind_of
from avocet_grpc.store.sqlite.integrity import LedgerUnusable, damage
from avocet_grpc.store.sqlite.opening import version_of
from avocet_grpc.store.sqlite.session import BUSY_S, SqliteSession
from avocet_grpc.store.sqlite.upgrade import FROM_VERSION

PAGE = 500
NOT_NOW = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Errors that say nothing of the ledger: it could not be opened or locked. It may have been cut off in a large change,
which only one who may write takes back."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ledger has that the shared files do not have; None if it cannot be read.

    `old_examples` are those that only an export at an older revision still sees. `pending` are acknowledged changes
    that had not reached the file by its last report, tombstones too; `unreadable` counts those without a sound line.
    """

    revision: int | None
    history: int | None
    request_ids: int | None
    old_examples: int | None
    snapshots: int | None = 0
    pending: dict[File, list[Changed]] = field(default_factory=dict)
    unreadable: int | None = None


@contextlib.contextmanager
def opened(path: Path, *, lenient: bool = True) -> Iterator[SqliteSession]:
    """One consistent view of the ledger; nothing is written to it. `lenient`: damaged lines are not an error.

    Raises sqlite3.Error, LedgerUnusable.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)
    try:
        connection.execute("BEGIN")
        version = version_of(connection)
        if version is None:
            raise sqlite3.DatabaseError("it is empty")
        if version != VERSION:
            is_older = version == FROM_VERSION
            way = "start the service once, which upgrades it" if is_older else "use the program that made it"
            raise LedgerUnusable(f"the ledger is of version {version}, and this program of version {VERSION}: {way}")
        yield SqliteSession(connection, lenient=lenient)
    finally:
        connection.close()


@contextlib.contextmanager
def reader(path: Path) -> Iterator[SqlMirrorReader]:
    """What a mirror sees of the ledger, in one consistent view. Raises sqlite3.Error, LedgerUnusable."""
    with opened(path) as session:
        yield SqlMirrorReader(session)


def problems(path: Path) -> list[str]:
    """Return all that is wrong with the ledger; reads all of it. Empty if it is sound. Raises LedgerUnusable."""
    try:
        with opened(path) as session:
            return list(damage(session.connection))
    except sqlite3.DatabaseError as error:
        if kind_of(error) not in NOT_NOW:
            return [f"it cannot be read: {error}"]
        why = "it is busy, this disk cannot be written, or the next start has to take back what was cut off"
        raise LedgerUnusable(f"the ledger cannot be looked at now: {error}; {why}") from error


def contents(path: Path) -> Contents:
    """Return what can still be read of a ledger, damaged or not."""
    pending: dict[File, list[Changed]] = {file: [] for file in File}
    unreadable: int | None = None
    with contextlib.suppress(sqlite3.DatabaseError, LedgerUnusable), reader(path) as view:
        unreadable = 0
        for file in File:
            for changed in _pending(view, file):
                if _is_sound(changed):
                    pending[file].append(changed)
                else:
                    unreadable += 1
    return Contents(
        revision=_number(path, "SELECT revision FROM head"),
        history=_number(path, "SELECT count(*) FROM history"),
        request_ids=_number(path, "SELECT count(*) FROM requests"),
        old_examples=_number(path, f"SELECT count(*) FROM examples WHERE removed_revision <> {NEVER}"),
        snapshots=_number(path, "SELECT count(*) FROM snapshots WHERE deleted_at = 0"),
        pending=pending,
        unreadable=unreadable,
    )


def _pending(view: SqlMirrorReader, file: File) -> Iterator[Changed]:
    report = view.report(file)
    after = report.level if report else START
    while page := view.changes(file, after, PAGE):
        yield from page
        after = Cursor(page[-1].revision, page[-1].key)


def _is_sound(changed: Changed) -> bool:
    if changed.digest is None:
        return True
    try:
        return is_content_digest(changed.digest, load(changed.raw or b""))
    except ValueError:
        return False


def _number(path: Path, query: str) -> int | None:
    try:
        with opened(path) as session:
            return session.number(query)
    except (sqlite3.DatabaseError, LedgerUnusable, TypeError):
        return None
