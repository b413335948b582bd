"""The one row that each commit locks, and what else a commit keeps of itself."""

from __future__ import annotations

import secrets
import time
from typing import NamedTuple

from avocet_grpc.store.postgres.connect import Connection
from avocet_grpc.store.postgres.session import CLOCK, PostgresSession
from avocet_grpc.store.sql.queries import HEAD, Queries
from avocet_grpc.store.sql.rows import HeadRow

LAST_GROUP = "SELECT last_group FROM servers WHERE server = %s"
JUMP = 1_000_000
"""After a failover or restore that may have lost changes, revisions go on so far beyond the last one that is known."""
FORGOTTEN_AFTER_S = 7 * 86_400


class Home(NamedTuple):
    """Where a ledger lies, in numbers that no restore brings along; the rows of `meta` that note it have these names.

    A failover or a restore of the whole cluster changes the first two. A dump that is restored into the same cluster
    comes into another database, or gives `head` another file: also if the tables were only emptied by TRUNCATE.
    """

    system_identifier: int | None
    timeline: int | None
    database: int | None
    head_file: int | None


HERE = (
    "SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint,"
    " (SELECT oid::bigint FROM pg_database WHERE datname = current_database()), pg_relation_filenode('head')::bigint"
    " FROM pg_control_system()"
)
NOTED = "SELECT " + ", ".join(f"(SELECT value FROM meta WHERE name = '{name}') AS {name}" for name in Home._fields)
NOWHERE = Home(None, None, None, None)


class ServerRow(NamedTuple):
    """A row of `servers`: the number of a server's last commit, and when it was, Unix time in seconds."""

    server: str
    last_group: int
    seen_at: int


class Locked(NamedTuple):
    """The head, the database's clock, and the number of this server's last commit that is stored.

    The head must be stored: it may have moved on.
    """

    head: HeadRow
    now: float
    last_group: int


class Head:
    """The head as one server locks it."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._number = 0

    def next_number(self) -> int:
        """Return the number of the next commit."""
        self._number += 1
        return self._number

    def lock(self, db: Connection, session: PostgresSession) -> Locked:
        """Begin a transaction that has the head to itself. Raises psycopg.Error."""
        with db.pipeline():
            db.execute("BEGIN")
            head = db.execute(f"{HEAD} FOR UPDATE")
            clock = db.execute(CLOCK)
            last = db.execute(LAST_GROUP, [self._server])
            # With each commit: a dump may be restored between two on one connection.
            here, noted = db.execute(HERE), db.execute(NOTED)
        row, now, found = head.fetchone(), clock.fetchone(), last.fetchone()
        if row is None or now is None:
            raise LookupError("the ledger has no head")
        locked = Locked(HeadRow._make(row), float(now[0]), int(found[0]) if found else 0)
        home, known = Home._make(here.fetchone() or NOWHERE), Home._make(noted.fetchone() or NOWHERE)
        return locked if home == known else locked._replace(head=_moved(session, locked, home, known))

    def note(self, session: PostgresSession, number: int) -> None:
        """This commit has this number."""
        row = ServerRow(self._server, number, int(session.now()))
        update = "ON CONFLICT (server) DO UPDATE SET last_group = excluded.last_group, seen_at = excluded.seen_at"
        session.insert("servers", [row], update)

    def leave(self, db: Connection) -> None:
        """The server ends; what servers left that ended in another way goes with it after a while."""
        before = int(time.time()) - FORGOTTEN_AFTER_S
        db.execute("DELETE FROM servers WHERE server = %s OR seen_at < %s", [self._server, before])


def note_home(db: Connection, session: PostgresSession) -> None:
    """Note where the ledger lies: it is new here. Raises psycopg.Error."""
    _note(session, Home._make(db.execute(HERE).fetchone() or NOWHERE))


def _moved(session: PostgresSession, locked: Locked, home: Home, known: Home) -> HeadRow:
    """Return the head of a ledger that lies elsewhere than it says: it was failed over or restored.

    What was acknowledged may be lost then, and its revisions must not come again: others have seen them.
    """
    _note(session, home)
    if known == NOWHERE:
        return locked.head
    revision = max(locked.head.revision + JUMP, int(locked.now * 1_000_000))
    Queries(session).note_beginning(revision, after=locked.head.revision)
    return locked.head._replace(revision=revision, incarnation=secrets.token_hex(16))


def _note(session: PostgresSession, home: Home) -> None:
    queries = Queries(session)
    for name, value in home._asdict().items():
        queries.set_meta(name, value)
