"""SqliteLedger: the ledger in one SQLite database, for any number of processes on one machine."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from avocet_grpc.core.observer import Observer
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.group import SET_HEAD, Group
from avocet_grpc.store.sql.loading import Load
from avocet_grpc.store.sql.mirror import SqlMirrorLedger
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.reader import SqlReader
from avocet_grpc.store.sql.room import RoomOf
from avocet_grpc.store.sql.rows import DictionaryRow
from avocet_grpc.store.sql.transaction import Encode, SqlTransaction
from avocet_grpc.store.sqlite import opening
from avocet_grpc.store.sqlite.condition import Condition
from avocet_grpc.store.sqlite.failure import may_go_on
from avocet_grpc.store.sqlite.floor import RevisionFloor
from avocet_grpc.store.sqlite.gate import Gate
from avocet_grpc.store.sqlite.integrity import refuse_if_damaged, refuse_if_inconsistent, unusable
from avocet_grpc.store.sqlite.learning import Learning
from avocet_grpc.store.sqlite.opening import Begin
from avocet_grpc.store.sqlite.seal import close_seal
from avocet_grpc.store.sqlite.session import (
    DURABLE,
    KEPT_BYTES,
    LARGE_TEMPORARY,
    LOADING_CACHE_KB,
    SMALL_TEMPORARY,
    WRITER_CACHE_KB,
    WRITING,
    SqliteSession,
    connect,
    set_up,
)
from avocet_grpc.store.sqlite.turns import Presence, Turns
from avocet_grpc.store.sqlite.upgrade import FROM_VERSION, Progress, Upgrade
from avocet_grpc.store.sqlite.writer import Writer, roll_back

T = TypeVar("T")

WAITING = 10_000
LEAVE_S = 5.0
"""How long a large load waits for others that still have the ledger open."""


class SqliteLedger:
    """Implements `core.ports.ledger.Ledger` below a data directory; None keeps it in memory.

    Several processes may open one ledger: a commit is visible to all of them once it is answered. The first one checks
    it, makes it or upgrades it; the last one that closes it seals it. `encode` gives an example's bytes, `waiting` is
    how many groups of changes may wait, `clock` gives Unix time in seconds. A new ledger begins at `first_revision` if
    neither the clock nor the directory's floor is beyond it. `progress` is told how an upgrade goes on; without it the
    log is.

    Raises LedgerUnusable if the file is damaged or of another version, StorageFull, or OSError.
    """

    def __init__(
        self,
        directory: DataDirectory | None,
        encode: Encode,
        *,
        waiting: int = WAITING,
        clock: Callable[[], float] = time.time,
        first_revision: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._encode, self._progress = encode, progress
        self._closed = False
        self._begin = Begin(RevisionFloor(None if directory is None else directory.root), clock, first_revision)
        self._path = None if directory is None else directory.ledger
        self._floor = self._begin.floor
        self._condition = Condition(self._path)
        self._clock = clock
        self._readers: queue.LifoQueue[SqliteSession] = queue.LifoQueue()
        self._gate = Gate()
        self._memory_lock = threading.RLock() if self._path is None else None
        self._presence: Presence | None = None
        self._turns: Turns | None = None
        if self._path is not None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._presence, self._turns = Presence(self._path), Turns(self._path)
            self._condition.on_failure(self._turns.end)
        try:
            self._db = self._opened()
        except BaseException:
            self._let_go()
            raise
        self._writer = Writer(
            self._db, self._path, encode, turn=self._turn(), condition=self._condition, waiting=waiting, clock=clock
        )
        self.on_commit(lambda: self._floor.run_ahead_of(self._writer.revision))
        self._learning: Learning | None = None
        if self._path is not None:
            self._learning = learning = Learning(self.session, self._keep_dictionary)
            self.on_commit(lambda: learning.committed(self._writer.last_key))

    @property
    def observer(self) -> Observer:
        """Told of each commit."""
        return self._writer.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._writer.observer = observer

    def read(self, work: Callable[[SqlReader], T]) -> T:
        """See the port."""
        with self._gate.passed(), self.session() as session, RoomOf(work):
            return work(SqlReader(session))

    def write(self, work: Callable[[SqlTransaction], T]) -> Future[T]:
        """See the port."""
        future: Future[T] = self._writer.queue(Group((work,), one=True))
        return future

    def write_all(self, works: Sequence[Callable[[SqlTransaction], T]]) -> Future[list[T | Exception]]:
        """See the port."""
        future: Future[list[T | Exception]] = self._writer.queue(Group(works, one=False))
        return future

    def on_commit(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._writer.on_commit(listener)

    def on_failure(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._condition.on_failure(listener)

    def on_full(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._condition.on_full(listener)

    def on_reach(self, listener: Callable[[bool], None]) -> None:
        """See the port: a file is reached, or has failed."""

    @contextlib.contextmanager
    def session(self) -> Iterator[SqliteSession]:
        """One consistent view of the ledger. Raises StorageFailed, or Overloaded.

        In memory nobody else can use the ledger meanwhile, so nothing must be written inside.
        """
        try:
            with self._reader() as session:
                session.execute("BEGIN")
                try:
                    yield session
                finally:
                    if session.connection.in_transaction:
                        session.execute("COMMIT")
        except sqlite3.Error as error:
            failure = self._condition.judge(error)
            if failure is None:
                raise
            raise failure from error

    @contextlib.contextmanager
    def loading(self) -> Iterator[Load]:
        """One large change that the caller makes step by step; committed at the end, undone by an error.

        Raises StorageFull, StorageFailed or Overloaded.
        """
        self._condition.check()
        # A failure is judged while the turn is held: nobody else may commit after it.
        with self._judged(), self._turn_to_load() as connection, self._judged():
            session = SqliteSession(connection)
            connection.execute("BEGIN IMMEDIATE")
            try:
                load = Load(session, Queries(session).head(), self._encode)
                yield load
                session.execute(SET_HEAD, load.finish()._asdict())
                connection.execute("COMMIT")
            except BaseException:
                roll_back(connection)
                raise
        self._writer.use_newest_dictionary()
        self._writer.committed()

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            failure = self._condition.judge(error)
            if failure is None:
                raise
            self._condition.refused(failure)
            raise failure from error

    def mirror(self) -> SqlMirrorLedger:
        """Return the ledger as the mirror sees it: `core.ports.mirror.MirrorLedger`."""
        return SqlMirrorLedger(self)

    def config(self) -> None:
        """Return None: the configuration is in the config file, since no other server shares the ledger."""

    def keeper(self) -> None:
        """Return None: the ledger lies in the directory of the files, so whoever has it keeps them."""

    def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        if self._learning is not None:
            self._learning.close()
        self._writer.close()
        if self._condition.failed:
            # Closing would write what is left of the journal, which a failed storage must not be asked for again.
            return
        revision = SqliteSession(self._db).number("SELECT revision FROM head")
        self._db.close()
        self._drop_readers()
        if self._presence is not None and self._path is not None and self._presence.is_alone():
            self._floor.settle(revision)
            # A journal that is left says that its last pages could not be copied.
            if not self._path.with_name(f"{self._path.name}-wal").exists():
                with contextlib.suppress(OSError):
                    close_seal(self._path)
        self._let_go()

    def _keep_dictionary(self, row: DictionaryRow | None) -> None:
        if row is not None:
            self.write(lambda tx: tx.add_dictionary(row)).result()
        self._writer.use_newest_dictionary()

    def _opened(self) -> sqlite3.Connection:
        """Return the writer's connection, to a ledger that is ready for use."""
        path, presence = self._path, self._presence
        if path is None or presence is None:
            db = connect(None)
            opening.prepare(db, self._begin)
            return db
        alone = presence.is_alone()
        if not alone:
            presence.let_others_in()
        elif self._turns is not None:
            self._turns.begin()
        sealed = refuse_if_damaged(path) if alone else True
        try:
            db = connect(path, WRITING, WRITER_CACHE_KB)
            if alone:
                if not sealed:
                    refuse_if_inconsistent(path, db)
                if opening.version_of(db) == FROM_VERSION:
                    Upgrade(path, self._begin, self._encode, self._progress).run(db)
                    db = connect(path, WRITING, WRITER_CACHE_KB)
                opening.prepare(db, self._begin, sealed=sealed)
                if opening.forget_statistics(db):
                    db.close()
                    db = connect(path, WRITING, WRITER_CACHE_KB)
                self._empty_journal(db)
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        if alone:
            self._floor.run_ahead_of(SqliteSession(db).number("SELECT revision FROM head"))
            presence.let_others_in()
        return db

    def _empty_journal(self, db: sqlite3.Connection) -> None:
        """A journal that a crash left is copied and emptied: it would grow with each start that ends so."""
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            failure = self._condition.meaning(error)
            if failure is None or not may_go_on(failure):
                raise

    def _turn(self) -> AbstractContextManager[Any]:
        """Return the context in which nobody else changes the ledger."""
        turn = self._memory_lock or self._turns
        assert turn is not None, "a ledger is in memory or has turns"
        return turn

    @contextlib.contextmanager
    def _turn_to_load(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection, while the writer waits."""
        if self._path is None:
            with self._turn():
                yield self._db
            return
        turns = Turns(self._path)
        try:
            with turns, self._writer.without_checkpoints(), self._without_write_ahead_log():
                self._db.execute(f"PRAGMA {LARGE_TEMPORARY}")
                try:
                    yield self._db
                finally:
                    # If the load could not even be rolled back, that is what there is to say.
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute(f"PRAGMA {SMALL_TEMPORARY}")
        finally:
            turns.close()

    @contextlib.contextmanager
    def _without_write_ahead_log(self) -> Iterator[None]:
        """While nobody else has the ledger open: a large load would fill the log, and be copied from there.

        A rollback journal holds no page that is new, so that almost all of a load is written once, in its place.
        """
        alone = False
        try:
            if self._presence is not None and self._presence.is_alone():
                self._drop_readers()
                alone = self._leave_write_ahead_log()
            yield
        finally:
            if self._presence is not None:
                self._presence.let_others_in()
            if alone and not self._condition.failed:
                set_up(self._db, DURABLE, WRITER_CACHE_KB)

    def _leave_write_ahead_log(self) -> bool:
        """Return False if somebody keeps the ledger open: then the load goes through the log.

        A process that was killed lets go of its mark before its files. SQLite does not wait for it by itself here.
        """
        until = time.monotonic() + LEAVE_S
        while True:
            try:
                set_up(self._db, ("journal_mode = DELETE",), LOADING_CACHE_KB)
                return True
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
            if time.monotonic() >= until:
                return False
            time.sleep(LEAVE_S / 100)

    def _drop_readers(self) -> None:
        while not self._readers.empty():
            self._readers.get().connection.close()

    @contextlib.contextmanager
    def _reader(self) -> Iterator[SqliteSession]:
        if self._memory_lock is not None:
            with self._memory_lock:
                yield SqliteSession(self._db, self._clock)
            return
        try:
            session = self._readers.get_nowait()
        except queue.Empty:
            session = SqliteSession(connect(self._path), self._clock, kept_bytes=KEPT_BYTES)
        try:
            yield session
        finally:
            self._readers.put(session)

    def _let_go(self) -> None:
        for lock in (self._presence, self._turns):
            if lock is not None:
                lock.close()
