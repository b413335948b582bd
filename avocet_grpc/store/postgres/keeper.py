"""The lease of the two shared files: one row, by the database's clock, which one server holds at a time.

Who takes the lease raises the mirror's epoch in the same transaction, under the lock of the head. So every command of
the holder before is refused from then on.
"""

from __future__ import annotations

import enum
import threading

from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.store.postgres.connect import Connection, connect
from avocet_grpc.store.postgres.session import CLOCK, PostgresSession

TTL_S = 10.0
"""How long the lease lasts after it was renewed."""
RENEW_EVERY_S = 2.0

COLUMNS = "holder, host, directory, files_id, epoch, seen_at, until, release_wanted"
LAG = (
    "(SELECT greatest(h.revision - coalesce((SELECT min(level_revision) FROM reports), h.first_revision), 0)"
    " FROM head h)"
)
STATE = (
    f"SELECT {COLUMNS}, {LAG} AS lag, extract(epoch FROM clock_timestamp())::float8 AS now, refused, refused_at"
    " FROM keeper"
)
TAKE = (
    "UPDATE keeper SET holder = %s, host = %s, directory = %s, files_id = %s, epoch = %s, seen_at = %s, until = %s,"
    " release_wanted = false, refused = ''"
)
RENEW = (
    "UPDATE keeper SET seen_at = c.now, until = c.now + %s"
    " FROM (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) c"
    " WHERE holder = %s AND epoch = %s RETURNING release_wanted"
)
RELEASE = f"UPDATE keeper SET holder = '', until = ({CLOCK}), release_wanted = false WHERE holder = %s AND epoch = %s"
REFUSED = f"UPDATE keeper SET refused = %s, refused_at = ({CLOCK})"
ASK = f"UPDATE keeper SET release_wanted = true WHERE holder <> '' AND until > ({CLOCK})"


class WrongFiles(Exception):
    """The directory is not the one whose files the ledger keeps; `expected` is that one's id, or empty."""

    def __init__(self, expected: str) -> None:
        super().__init__("the directory does not have the files of this ledger")
        self.expected = expected


class Renewal(enum.Enum):
    """What came of renewing the lease."""

    HELD = enum.auto()
    RELEASE_WANTED = enum.auto()
    """It is held, and an operator wants it to be given up."""
    LOST = enum.auto()
    """Another server has taken it."""


class Lease:
    """The lease as one server takes it, on a connection of its own. Any thread may call it.

    `holder` is unique to this run of the server. Every method raises psycopg.Error if the database cannot be asked.
    """

    def __init__(self, url: str, holder: str, host: str, directory: str) -> None:
        self._url, self._holder, self._host, self._directory = url, holder, host, directory
        self._db: Connection | None = None
        self._lock = threading.Lock()

    def state(self) -> KeeperState:
        """Return who holds it."""
        with self._lock:
            return _state(self._connection())

    def take(self, files_id: str, *, binds: bool = False, takes_over: bool = False) -> int | None:
        """Take the lease for the directory of this id. Returns the epoch; None while another server holds the lease.

        `binds`: a ledger whose files nobody has ever kept gets this id. `takes_over`: it gets it in any case.
        Raises WrongFiles.
        """
        with self._lock:
            db = self._connection()
            with db.transaction():
                # The head first, as every commit does.
                head = db.execute("SELECT mirror_epoch FROM head FOR UPDATE").fetchone()
                db.execute("SELECT 1 FROM keeper FOR UPDATE")
                state = _state(db)
                is_bound = state.files_id == files_id or (binds and not state.files_id)
                if not is_bound and not takes_over:
                    raise WrongFiles(state.files_id)
                if state.is_kept and state.holder != self._holder:
                    return None
                # By the clock, so that an epoch that a failover has lost is never given again.
                epoch = max((int(head[0]) if head else 0) + 1, int(state.now * 1_000))
                until = state.now + TTL_S
                db.execute(TAKE, [self._holder, self._host, self._directory, files_id, epoch, state.now, until])
                db.execute("UPDATE head SET mirror_epoch = %s", [epoch])
        return epoch

    def renew(self, epoch: int) -> Renewal:
        """Let it last for TTL_S from now. Nobody else has held it since it was taken, unless it is LOST."""
        with self._lock:
            row = self._connection().execute(RENEW, [TTL_S, self._holder, epoch]).fetchone()
        if row is None:
            return Renewal.LOST
        return Renewal.RELEASE_WANTED if row[0] else Renewal.HELD

    def release(self, epoch: int) -> None:
        """Give it up; the files of the directory stay those of the ledger."""
        with self._lock:
            self._connection().execute(RELEASE, [self._holder, epoch])

    def note_refused(self) -> None:
        """Note that this directory was refused, until a server takes the lease."""
        with self._lock:
            self._connection().execute(REFUSED, [f"{self._host}:{self._directory}"])

    def ask_for_release(self) -> bool:
        """Ask whoever holds it to give it up. False if nobody does."""
        with self._lock:
            return self._connection().execute(ASK).rowcount > 0

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None

    def _connection(self) -> Connection:
        if self._db is None or self._db.closed:
            self._db = connect(self._url, holds_head=True)
        return self._db


def state_of(session: PostgresSession) -> KeeperState:
    """Return who holds the lease, as this view of the ledger has it."""
    state = session.one(KeeperState, STATE)
    if state is None:
        raise LookupError("the ledger has no lease")
    return state


def _state(db: Connection) -> KeeperState:
    row = db.execute(STATE).fetchone()
    if row is None:
        raise LookupError("the ledger has no lease")
    return KeeperState(*row)
