"""One thread that commits whatever waits, and finds out what became of a commit whose answer was lost."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import psycopg
import structlog

from avocet_grpc.core.errors import StorageFull, StorageUnreachable
from avocet_grpc.core.observer import SILENT, Observer
from avocet_grpc.store.postgres.connect import Connection, connect
from avocet_grpc.store.postgres.failure import Meaning, meaning, refusal, text_of
from avocet_grpc.store.postgres.head import Head
from avocet_grpc.store.postgres.reach import NOTED_AFTER_S, Reach
from avocet_grpc.store.postgres.session import PostgresSession, StoreClock
from avocet_grpc.store.postgres.wake import notification
from avocet_grpc.store.sql.group import SET_HEAD, Group, Run
from avocet_grpc.store.sql.rows import HeadRow
from avocet_grpc.store.sql.transaction import Encode
from avocet_grpc.store.sql.waiting import Waiting, refuse
from avocet_grpc.telemetry import failpoints
from avocet_grpc.telemetry.guard import guarded

log = structlog.get_logger(__name__)

NO_ANSWER = "a commit waits for the database: is its synchronous standby away?"
HEAD_HELD = (
    "a commit waits for another server's: is the database's synchronous standby away, or does a large change take long?"
)

Outcomes = list[list[Any]]


class Writer:
    """Takes groups of works, commits them and answers. `clock` None: the database's. `server` is its name."""

    def __init__(
        self, url: str, encode: Encode, reach: Reach, *, waiting: int, clock: Callable[[], float] | None
    ) -> None:
        self.observer: Observer = SILENT
        self._url, self._encode, self._reach, self._given_clock = url, encode, reach, clock
        self._store_clock = StoreClock()
        self._waiting = Waiting(waiting)
        self.server = secrets.token_hex(16)
        self._head = Head(self.server)
        self._db: Connection | None = None
        self._waits: _Wait | None = None
        self._nothing: Future[Any] | None = None
        self._on_commit: list[Callable[[], None]] = []
        self._on_full: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    def on_commit(self, listener: Callable[[], None]) -> None:
        """See `core.ports.ledger.Ledger`."""
        self._on_commit.append(guarded("listener", listener))

    def on_full(self, listener: Callable[[], None]) -> None:
        """See `core.ports.ledger.Ledger`."""
        self._on_full.append(guarded("listener", listener))

    def queue(self, group: Group) -> Future[Any]:
        """Let the group wait for the next commit. Returns its future."""
        future: Future[Any] = self._waiting.put(group)
        return future

    def commit_nothing(self) -> None:
        """Let the next commit come although nobody has a change: it notes that the database was restored."""
        if self._nothing is None or self._nothing.done():
            self._nothing = self.queue(Group((lambda tx: None,), one=True))

    def look(self) -> None:
        """Tell who asked for it, once, if the database has not answered a commit for long: another thread calls this.

        A commit waits without an end while the synchronous standby is away, and raises nothing. It has the head, for
        which the commits of other servers wait then.
        """
        waits = self._waits
        if waits is not None and time.monotonic() - waits.since > NOTED_AFTER_S:
            self._waits = None
            log.error(waits.why)
            self._tell_full()

    def committed(self) -> None:
        """Tell who listens of a commit."""
        for listener in self._on_commit:
            listener()

    def close(self) -> None:
        """Commit what waits, and end the thread."""
        self._waiting.close()
        self._thread.join()
        if self._db is not None:
            with contextlib.suppress(psycopg.Error):
                self._head.leave(self._db)
            self._db.close()

    def _work(self) -> None:
        last = False
        while not last:
            groups, last = self._waiting.take()
            if groups:
                self._commit(groups)
            # Texts of many megabytes would live until the next ones come.
            del groups

    def _commit(self, groups: list[Group]) -> None:
        """Commit all of them together; one by one if that fails because of one of them."""
        began = time.monotonic()
        try:
            outcomes, synced = self._made(groups, began)
        except psycopg.Error as error:
            if len(groups) > 1:
                for group in groups:
                    self._commit([group])
            elif len(groups[0].works) > 1:
                self._commit_singly(groups[0])
            else:
                self._refuse(groups, error)
            return
        except Exception as error:
            self._refuse(groups, error)
            return
        failpoints.hit("commit.after")
        for group, found in zip(groups, outcomes, strict=True):
            group.answer(found)
        self.observer.committed(sum(map(len, outcomes)), synced)
        self.committed()

    def _commit_singly(self, group: Group) -> None:
        """Each work in a commit of its own, so that an error of the database hits the work that caused it.

        A disk that is full, or a database that is away, refuses the works that follow too: those before are stored.
        """
        outcomes = list[Any]()
        for work in group.works:
            alone = Group((work,), one=True)
            self._commit([alone])
            error = alone.future.exception()
            if isinstance(error, StorageFull | StorageUnreachable):
                outcomes += [error] * (len(group.works) - len(outcomes))
                break
            outcomes.append(alone.future.result() if error is None else error)
        group.answer(outcomes)

    def _made(self, groups: list[Group], began: float) -> tuple[Outcomes, float]:
        """Return what each work gave or raised, and how long the commit took.

        Raises what refuses all of them: an error of the core if nothing is stored, StorageUnreachable if that is
        unknown, psycopg.Error if one of the works is at fault.
        """
        attempt = _Attempt(self._head.next_number(), groups)
        while True:
            try:
                answer = self._attempt(attempt)
            except psycopg.Error as error:
                match Meaning.LOST if attempt.is_unknown else meaning(error):
                    case Meaning.WORK:
                        raise
                    case Meaning.REFUSED:
                        raise refusal(error) from error
                    case Meaning.LOST:
                        attempt.is_unknown = attempt.outcomes is not None
                        self._lose(error)
                self._reach.pause(began)
            else:
                self._reach.found()
                return answer

    def _attempt(self, attempt: _Attempt) -> tuple[Outcomes, float]:
        db = self._connection()
        session = PostgresSession(db, self._given_clock or self._store_clock)
        try:
            with self._waiting_for(HEAD_HELD):
                locked = self._head.lock(db, session)
            self._store_clock.set(locked.now)
            if attempt.outcomes is not None and locked.last_group == attempt.number:
                self._confirm(db, session, locked.head, attempt.number)
                return attempt.outcomes, 0.0
            attempt.outcomes, attempt.is_unknown = None, False
            run = Run(session, locked.head, self._encode, lambda error: isinstance(error, psycopg.Error))
            run.fetch([work for group in attempt.groups for work in group.works])
            outcomes = [[run.outcome(work) for work in group.works] for group in attempt.groups]
            failpoints.hit("commit.before")
            attempt.outcomes, started = outcomes, time.perf_counter()
            with self._waiting_for(NO_ANSWER), session.batch():
                run.finish()
                self._head.note(session, attempt.number)
                db.execute(notification(self.server))
                db.execute("COMMIT")
            return outcomes, time.perf_counter() - started
        except Exception:
            _roll_back(db)
            raise

    def _confirm(self, db: Connection, session: PostgresSession, head: HeadRow, number: int) -> None:
        """Wait until the standby, too, has what this server has stored. Raises psycopg.Error if that is unknown."""
        try:
            # A commit that was cut off may not have waited; the standby gets this one after it.
            with self._waiting_for(NO_ANSWER), session.batch():
                session.execute(SET_HEAD, head._asdict())
                self._head.note(session, number)
                db.execute("COMMIT")
        except psycopg.Error as error:
            # Whatever it is, nothing may be run again, nor refused.
            raise psycopg.OperationalError(text_of(error)) from error

    @contextlib.contextmanager
    def _waiting_for(self, why: str) -> Iterator[None]:
        """Inside, the database is asked for what may take long, for this reason."""
        self._waits = _Wait(time.monotonic(), why)
        try:
            yield
        finally:
            self._waits = None

    def _connection(self) -> Connection:
        if self._db is None or self._db.closed:
            self._db = connect(self._url, holds_head=True)
        return self._db

    def _lose(self, error: psycopg.Error) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None
        self._reach.lost(text_of(error))

    def _refuse(self, groups: list[Group], error: Exception) -> None:
        refuse(groups, error)
        if isinstance(error, StorageFull):
            self._tell_full()

    def _tell_full(self) -> None:
        for listener in self._on_full:
            listener()


class _Wait(NamedTuple):
    """Since when the database is waited for, by the monotonic clock, and what the log says of it."""

    since: float
    why: str


class _Attempt:
    """Groups under the number of their commit; `outcomes` once a COMMIT may have been sent.

    `is_unknown`: its answer was lost, and nobody has looked yet whether they are stored. Until then they may neither be
    refused nor run under another number, whatever else fails.
    """

    def __init__(self, number: int, groups: list[Group]) -> None:
        self.number, self.groups = number, groups
        self.outcomes: Outcomes | None = None
        self.is_unknown = False


def _roll_back(db: Connection) -> None:
    """End a transaction that did not succeed; a connection that cannot is closed."""
    try:
        if not db.closed and db.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            db.execute("ROLLBACK")
    except psycopg.Error:
        db.close()
