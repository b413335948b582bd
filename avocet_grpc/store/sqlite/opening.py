"""What an opened database must be before it is used: made, of this version, and no older than others have seen it."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from avocet_grpc.store.sql import schema
from avocet_grpc.store.sql.group import SET_HEAD
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.rows import HeadRow
from avocet_grpc.store.sqlite.digests import renew_digests
from avocet_grpc.store.sqlite.floor import AHEAD, RevisionFloor
from avocet_grpc.store.sqlite.integrity import LedgerUnusable
from avocet_grpc.store.sqlite.session import SQLITE, SqliteSession

RESTORED = "restored"
"""The row of `meta` by which a copy is known: the revisions that the original gave after it must not come again."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a new life of a ledger begins: at Unix time in microseconds, or at what is higher."""

    floor: RevisionFloor
    clock: Callable[[], float]
    least: int = 0

    def revision(self, least: int = 0) -> int:
        """Return the first revision; no lower than `least`."""
        return max(int(self.clock() * 1_000_000), self.floor.read(), self.least, least)


def version_of(connection: sqlite3.Connection) -> int | None:
    """Return the schema's version; None if the database is empty. Raises LedgerUnusable if it is not a ledger."""
    if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        return None
    row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
    if row is None:
        raise LedgerUnusable("the ledger has no version; restore it from a backup, or run avocet-grpc rebuild")
    return int(row[0])


def make(connection: sqlite3.Connection, revision: int) -> None:
    """Make an empty ledger that begins at this revision. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.statements(SQLITE):
        connection.execute(statement)
    session = SqliteSession(connection)
    connection.execute("INSERT INTO meta (name, value) VALUES ('schema_version', ?)", (schema.VERSION,))
    connection.execute("INSERT INTO meta (name, value) VALUES (?, 1)", (schema.WHOLE_NUMBERS,))
    session.insert("head", [HeadRow(revision, 1, 0, new_incarnation(), revision, 0)])
    Queries(session).note_beginning(revision)
    connection.execute("COMMIT")


def prepare(connection: sqlite3.Connection, begin: Begin, *, sealed: bool = False) -> None:
    """Make the ledger if there is none, and start a restored one. Only who is alone may do it.

    `sealed` says that the ledger's last stop was clean.

    Raises LedgerUnusable, sqlite3.Error.
    """
    version = version_of(connection)
    if version is None:
        make(connection, begin.revision())
    elif version != schema.VERSION:
        problem = "the ledger is of another version of the service; use that one, or run avocet-grpc rebuild"
        raise LedgerUnusable(problem)
    renew_digests(connection)
    _start_if_restored(connection, begin, sealed)


def forget_statistics(connection: sqlite3.Connection) -> bool:
    """Drop the statistics of somebody's ANALYZE: they grow old and mislead the planner. Tested plans do without.

    Returns whether there was any; this connection still heeds it then.
    """
    query = "SELECT name FROM sqlite_master WHERE name IN ('sqlite_stat1', 'sqlite_stat4')"
    found = connection.execute(query).fetchall()
    for (table,) in found:
        connection.execute(f"DROP TABLE {table}")
    return bool(found)


def new_incarnation() -> str:
    """Return a name for one incarnation of a ledger: a restored copy begins another one."""
    return secrets.token_hex(16)


def _start_if_restored(connection: sqlite3.Connection, begin: Begin, sealed: bool) -> None:
    """Others have seen revisions of the original that came after the copy was made: they never come again."""
    session = SqliteSession(connection)
    head = Queries(session).head()
    marked = connection.execute("SELECT 1 FROM meta WHERE name = ?", (RESTORED,)).fetchone() is not None
    # Without a mark it was copied by hand, if the floor says so. A clean stop leaves the floor where the ledger ends;
    # while a ledger is in use its floor runs ahead.
    ahead = 0 if sealed else 2 * AHEAD
    if not marked and begin.floor.read() <= head.revision + ahead:
        return
    revision = begin.revision(head.revision + 1)
    connection.execute("BEGIN IMMEDIATE")
    session.execute(SET_HEAD, head._replace(revision=revision, incarnation=new_incarnation())._asdict())
    Queries(session).note_beginning(revision, after=head.revision)
    connection.execute("DELETE FROM meta WHERE name = ?", (RESTORED,))
    connection.execute("COMMIT")
