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
WHICH = (
    "SELECT system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint"
    " FROM pg_control_system()"
)
"""Which database this is, and how often it was failed over or restored."""
SYSTEM, TIMELINE = "system_identifier", "timeline"
JUMP = 1_000_000
"""After a failover that may have lost changes, revisions go on so far beyond the last one that is known."""
FORGOTTEN_AFTER_S = 7 * 86_400


class ServerRow(NamedTuple):
    """A row of `servers`: the number of a server's last commit, and when it was, Unix time in seconds."""

    server: str
    last_group: int
    seen_at: int


class Locked(NamedTuple):
    """The head, the database's clock, and the number of this server's last commit that is stored."""

    head: HeadRow
    now: float
    last_group: int


class Head:
    """The head as one server locks it.

    `is_unknown`: nothing is committed on this connection yet, and it may lead to another database. What `lock` returns
    then must be stored.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._number = 0
        self.is_unknown = True

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
        row, now, found = head.fetchone(), clock.fetchone(), last.fetchone()
        if row is None or now is None:
            raise LookupError("the ledger has no head")
        locked = Locked(HeadRow._make(row), float(now[0]), int(found[0]) if found else 0)
        if self.is_unknown:
            locked = locked._replace(head=self._known(session, locked))
        return locked

    def note(self, session: PostgresSession, number: int) -> None:
        """This commit has this number."""
        row = ServerRow(self._server, number, int(session.now()))
        update = "ON CONFLICT (server) DO UPDATE SET last_group = excluded.last_group, seen_at = excluded.seen_at"
        session.insert("servers", [row], update)

    def leave(self, db: Connection) -> None:
        """The server ends; what servers left that ended in another way goes with it after a while."""
        before = int(time.time()) - FORGOTTEN_AFTER_S
        db.execute("DELETE FROM servers WHERE server = %s OR seen_at < %s", [self._server, before])

    def _known(self, session: PostgresSession, locked: Locked) -> HeadRow:
        """Return the head, moved on if the database was failed over or restored since the last commit.

        What was acknowledged may be lost then, and its revisions must not come again: others have seen them.
        """
        which = session.one(tuple, WHICH)
        if which is None:
            return locked.head
        queries = Queries(session)
        known, system_and_timeline = (queries.meta(SYSTEM), queries.meta(TIMELINE)), (which[0], which[1])
        if known == system_and_timeline:
            return locked.head
        queries.set_meta(SYSTEM, system_and_timeline[0])
        queries.set_meta(TIMELINE, system_and_timeline[1])
        if known == (None, None):
            return locked.head
        revision = max(locked.head.revision + JUMP, int(locked.now * 1_000_000))
        queries.begin_life(revision, after=locked.head.revision)
        return locked.head._replace(revision=revision, incarnation=secrets.token_hex(16))
