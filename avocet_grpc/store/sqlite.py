"""The ledger in one SQLite database: a writer thread with group commit, and readers of their own."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from avocet_grpc.core.errors import CorrectionsError, Overloaded, StorageFailed, StorageFull
from avocet_grpc.core.ports import Reader, Transaction
from avocet_grpc.store import schema
from avocet_grpc.store.buffer import Buffer, add_counts
from avocet_grpc.store.reader import SqlReader
from avocet_grpc.store.transaction import Encode, SqlTransaction

T = TypeVar("T")
Work = tuple[Callable[[Transaction], Any], "Future[Any]"]

BATCH = 256
WAITING = 10_000
FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG})


class LedgerUnusable(Exception):
    """The database cannot be opened, or is of another version; the text says what to do."""


class SqliteStore:
    """Implements `core.ports.Store` on the database at `path`; None keeps it in memory.

    Raises LedgerUnusable where the file is damaged or of another version.
    """

    def __init__(self, path: Path | None, encode: Encode, waiting: int = WAITING) -> None:
        self._path = path
        self._waiting = waiting
        self._encode = encode
        self._works: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._memory_lock = threading.RLock() if path is None else None
        self._commit_listeners: list[Callable[[], None]] = []
        self._failure_listeners: list[Callable[[], None]] = []
        self._full_listeners: list[Callable[[], None]] = []
        self._failed = self._closed = False
        try:
            self._db = self._connect()
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise LedgerUnusable(f"the ledger cannot be used: {error}") from error
        self._writer = threading.Thread(target=self._write_all, name="ledger-writer", daemon=True)
        self._writer.start()

    def read(self, work: Callable[[Reader], T]) -> T:
        with self._reader() as connection:
            try:
                connection.execute("BEGIN")
                try:
                    return work(SqlReader(connection))
                finally:
                    connection.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                raise StorageFailed("the ledger cannot be read") from error

    def write(self, work: Callable[[Transaction], T]) -> Future[T]:
        future: Future[T] = Future()
        if self._failed or self._closed:
            future.set_exception(StorageFailed("the ledger has stopped"))
        elif self._works.qsize() >= self._waiting:
            future.set_exception(Overloaded("too many changes wait"))
        else:
            self._works.put((work, future))
        return future

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._commit_listeners.append(listener)

    def on_failure(self, listener: Callable[[], None]) -> None:
        self._failure_listeners.append(listener)

    def on_full(self, listener: Callable[[], None]) -> None:
        self._full_listeners.append(listener)

    def close(self) -> None:
        self._closed = True
        self._works.put(None)
        self._writer.join()
        self._db.close()
        while not self._readers.empty():
            self._readers.get().close()

    def _connect(self) -> sqlite3.Connection:
        target = ":memory:" if self._path is None else str(self._path)
        db = sqlite3.connect(target, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=30)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -32768", "foreign_keys = ON"):
            db.execute(f"PRAGMA {pragma}")
        return db

    def _prepare(self) -> None:
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            self._db.execute("BEGIN")
            for statement in schema.TABLES:
                self._db.execute(statement)
            now = int(time.time() * 1000)
            meta = [("schema_version", schema.VERSION), ("first_revision", now), ("revision", now)]
            self._db.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", meta)
            self._db.execute("COMMIT")
        found = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if found.get("schema_version") != schema.VERSION:
            raise LedgerUnusable("the ledger is of another version of the service; use that one, or rebuild it")
        self._revision: int = found["revision"]
        self._next_key: int = self._db.execute("SELECT coalesce(max(key), 0) + 1 FROM lines").fetchone()[0]
        highest_example = self._db.execute("SELECT coalesce(max(key), 0) + 1 FROM examples").fetchone()[0]
        self._next_key = max(self._next_key, highest_example)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if self._memory_lock is not None:
            with self._memory_lock:
                yield self._db
            return
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._readers.put(connection)

    def _write_all(self) -> None:
        """The writer thread: whatever waits becomes one commit, and is answered after it."""
        while (first := self._works.get()) is not None:
            works, last = [first], False
            while len(works) < BATCH and not last and not self._works.empty():
                work = self._works.get()
                last = work is None
                if work is not None:
                    works.append(work)
            works = [work for work in works if work[1].set_running_or_notify_cancel()]
            if self._failed:
                _fail(works, StorageFailed("the ledger has stopped"))
            elif works:
                with self._memory_lock or contextlib.nullcontext():
                    self._commit(works)
            if last:
                return

    def _commit(self, works: list[Work]) -> None:
        answers: list[tuple[Future[Any], Any, Exception | None]] = []
        revision, next_key = self._revision, self._next_key
        counts: Counter[tuple[str, str]] = Counter()
        waiting = Buffer()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for work, future in works:
                tx = SqlTransaction(self._db, revision, next_key, self._encode, waiting)
                try:
                    answers.append((future, work(tx), None))
                except sqlite3.Error:
                    raise
                except Exception as error:
                    tx.undo()
                    answers.append((future, None, error))
                else:
                    tx.keep()
                    revision += tx.changed
                    next_key = tx.next_key
                    counts.update(tx.counts)
            waiting.flush(self._db)
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revision,))
            add_counts(self._db, counts.items())
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._refuse(works, error)
            return
        self._revision, self._next_key = revision, next_key
        for future, value, failure in answers:
            if failure is None:
                future.set_result(value)
            else:
                future.set_exception(failure)
        for listener in self._commit_listeners:
            listener()

    def _refuse(self, works: list[Work], error: sqlite3.Error) -> None:
        """Nothing of the batch is stored, or nobody knows: a full disk may go on, any other failure may not."""
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in FULL:
            _fail(works, StorageFull("the disk is full"))
            for listener in self._full_listeners:
                listener()
            return
        self._failed = True
        _fail(works, StorageFailed("the ledger failed"))
        for listener in self._failure_listeners:
            listener()


def _fail(works: list[Work], error: CorrectionsError) -> None:
    for _, future in works:
        future.set_exception(error)
