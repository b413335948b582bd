"""The ledger in one SQLite database: a writer thread with group commit, and readers of their own."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog

from avocet_grpc.core.errors import Overloaded, StorageFailed, StorageFull
from avocet_grpc.core.model import File
from avocet_grpc.core.observer import SILENT, Observer
from avocet_grpc.core.ports.files import Reader, Transaction
from avocet_grpc.durable import put_in_place
from avocet_grpc.store import schema
from avocet_grpc.store.backup import RESTORED
from avocet_grpc.store.batches import BatchCache
from avocet_grpc.store.buffer import Buffer, add_counts
from avocet_grpc.store.failure import StorageRefused, may_go_on, meaning
from avocet_grpc.store.file_transaction import FileTransaction
from avocet_grpc.store.reader import SqlReader
from avocet_grpc.store.seal import close_seal
from avocet_grpc.store.soundness import LedgerUnusable, refuse_if_damaged, refuse_if_inconsistent, unusable
from avocet_grpc.store.transaction import Encode
from avocet_grpc.telemetry import failpoints
from avocet_grpc.telemetry.guard import guarded

log = structlog.get_logger(__name__)

T = TypeVar("T")
Work = Callable[[Transaction], Any]

BATCH = 256
WAITING = 10_000
CHECKPOINT_CHANGES = 4_000
"""Changed rows after which the journal is copied into the database."""
JOURNAL_BYTES = 64 * 1024 * 1024
# Enough for the inner pages of a large ledger; the operating system has the others. Larger ones fill for hours, which
# looks like a leak.
WRITER_CACHE_KB = 8 * 1024
READER_CACHE_KB = 1024
LOADING_CACHE_KB = 64 * 1024
# SQLite would not tell of a failure in an automatic checkpoint, and try it again.
DURABLE = (
    "journal_mode = WAL",
    "wal_autocheckpoint = 0",
    f"journal_size_limit = {JOURNAL_BYTES}",
    "synchronous = FULL",
)
QUICK = ("journal_mode = MEMORY", "synchronous = OFF")
FULL_PAUSE_S = 1.0


@dataclass(slots=True)
class Group:
    """Works that are answered together; `one` where it is one work, whose value or error is the answer."""

    works: Sequence[Work]
    one: bool
    future: Future[Any] = field(default_factory=Future)

    def answer(self, outcomes: list[Any]) -> None:
        """What each work gave or raised, once it is durable."""
        if not self.one:
            self.future.set_result(outcomes)
        elif isinstance(outcomes[0], Exception):
            self.future.set_exception(outcomes[0])
        else:
            self.future.set_result(outcomes[0])


class Run:
    """The works of one commit, one after the other."""

    def __init__(self, db: sqlite3.Connection, encode: Encode, revision: int, next_key: int) -> None:
        self.revision, self.next_key = revision, next_key
        self._db, self._encode = db, encode
        self._rows = Buffer()
        self._counts: Counter[tuple[str, str]] = Counter()

    def outcome(self, work: Work) -> Any:
        """What the work gives or raises. Raises sqlite3.Error."""
        tx = FileTransaction(self._db, self.revision, self.next_key, self._encode, self._rows)
        try:
            value = work(tx)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and meaning(error, None) is not None:
                raise
            tx.undo()
            return error
        tx.keep()
        self.revision += tx.changed
        self.next_key = tx.next_key
        for name, n in tx.counts.items():
            self._counts[name] += n
        return value

    def finish(self) -> None:
        """Write what still waits. Raises sqlite3.Error."""
        self._rows.flush(self._db)
        self._db.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (self.revision,))
        add_counts(self._db, self._counts.items())


class SqliteStore:
    """Implements `core.ports.Store` on the database at `path`; None keeps it in memory.

    A new ledger begins at `first_revision`, or at the Unix time in milliseconds where that is later.

    Raises LedgerUnusable where the file is damaged or of another version.
    """

    def __init__(self, path: Path | None, encode: Encode, waiting: int = WAITING, first_revision: int = 0) -> None:
        self._first_revision = first_revision
        self._path: Path | None
        self._waiting = waiting
        self.observer: Observer = SILENT
        self._encode = encode
        self._groups: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._batches = BatchCache(path.parent) if path is not None else None
        self._memory_lock = threading.RLock() if path is None else None
        self._commit_listeners: list[Callable[[], None]] = []
        self._failure_listeners: list[Callable[[], None]] = []
        self._full_listeners: list[Callable[[], None]] = []
        self._failed = self._closed = False
        self._failing = threading.Lock()
        self._is_full, self._tried_at = False, 0.0
        sealed = path is None or refuse_if_damaged(path)
        try:
            self._open(path, DURABLE)
            if path is not None and not sealed:
                refuse_if_inconsistent(path, self._db)
        except sqlite3.Error as error:
            raise unusable(path, error) from error
        self._writer = threading.Thread(target=self._write_all, name="ledger-writer", daemon=True)
        self._writer.start()

    def read(self, work: Callable[[Reader], T]) -> T:
        try:
            with self._reader() as connection:
                connection.execute("BEGIN")
                try:
                    return work(SqlReader(connection, self._batches))
                finally:
                    if connection.in_transaction:
                        connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = meaning(error, self._path)
            if failure is None:
                raise
            if not may_go_on(failure):
                self._fail(error)
            raise failure from error

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        place = self._path
        if place is None or not self.read(lambda reader: all(reader.is_empty(file) for file in File)):
            yield
            return
        # Nothing to lose yet: the rows need no journal on the disk until they are all there.
        beside = place.with_name(f"{place.name}.loading")
        beside.unlink(missing_ok=True)
        self._disconnect()
        try:
            self._open(beside, QUICK)
            yield
            self._disconnect()
            put_in_place(beside, place)
        finally:
            self._open(place, DURABLE)

    def write(self, work: Callable[[Transaction], T]) -> Future[T]:
        return self._queue(Group((work,), one=True))

    def write_all(self, works: Sequence[Callable[[Transaction], T]]) -> Future[list[T | Exception]]:
        return self._queue(Group(works, one=False))

    def on_commit(self, listener: Callable[[], None]) -> None:
        self._commit_listeners.append(guarded("on_commit", listener))

    def on_failure(self, listener: Callable[[], None]) -> None:
        self._failure_listeners.append(guarded("on_failure", listener))

    def on_full(self, listener: Callable[[], None]) -> None:
        self._full_listeners.append(guarded("on_full", listener))

    def close(self) -> None:
        self._closed = True
        self._groups.put(None)
        self._writer.join()
        if self._failed:
            # Closing would write what is left of the journal, which a failed storage must not be asked for again.
            return
        self._disconnect()
        # A journal that is left says that somebody still reads, or that its last pages could not be copied.
        if self._path is not None and not self._path.with_name(f"{self._path.name}-wal").exists():
            with contextlib.suppress(OSError):
                close_seal(self._path)

    def _queue(self, group: Group) -> Future[Any]:
        if self._failed or self._closed:
            group.future.set_exception(StorageFailed("the ledger has stopped"))
        elif self._groups.qsize() >= self._waiting:
            group.future.set_exception(Overloaded("too many changes wait"))
        else:
            self._groups.put(group)
        return group.future

    def _connect(self, cache_kb: int = READER_CACHE_KB) -> sqlite3.Connection:
        target = ":memory:" if self._path is None else str(self._path)
        db = sqlite3.connect(target, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=30)
        for pragma in (*self._settings, f"cache_size = -{cache_kb}", "foreign_keys = ON"):
            db.execute(f"PRAGMA {pragma}")
        return db

    def _open(self, path: Path | None, settings: Sequence[str]) -> None:
        self._path, self._settings, self._copied = path, settings, 0
        self._db = self._connect(LOADING_CACHE_KB if settings is QUICK else WRITER_CACHE_KB)
        self._prepare()
        if settings is DURABLE and path is not None:
            self._copy_journal(path)

    def _copy_journal(self, path: Path) -> None:
        """A journal that a crash left is copied and emptied: it would grow with each start that ends so."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            failure = meaning(error, path)
            if failure is None or not may_go_on(failure):
                raise

    def _disconnect(self) -> None:
        self._db.close()
        while not self._readers.empty():
            self._readers.get().close()

    def _prepare(self) -> None:
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
            self._db.execute("BEGIN")
            for statement in schema.TABLES:
                self._db.execute(statement)
            now = max(int(time.time() * 1000), self._first_revision)
            meta = [("schema_version", schema.VERSION), ("first_revision", now), ("revision", now)]
            self._db.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", meta)
            self._db.execute("COMMIT")
        found = dict(self._db.execute("SELECT name, value FROM meta").fetchall())
        if found.get("schema_version") != schema.VERSION:
            problem = "the ledger is of another version of the service; use that one, or run avocet-grpc rebuild"
            raise LedgerUnusable(problem)
        if found.get(RESTORED):
            # Others have seen revisions that came after the backup; they never reach the clock.
            found["revision"] = max(found["revision"], int(time.time() * 1000))
            self._db.execute("BEGIN")
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (found["revision"],))
            self._db.execute("DELETE FROM meta WHERE name = ?", (RESTORED,))
            self._db.execute("COMMIT")
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
        last = False
        while not last and (first := self._groups.get()) is not None:
            groups, last = self._gather(first)
            groups = [group for group in groups if group.future.set_running_or_notify_cancel()]
            if self._failed:
                _fail(groups, StorageFailed("the ledger has stopped"))
            elif groups:
                with self._memory_lock or contextlib.nullcontext():
                    self._commit(groups)
                    self._checkpoint_if_due()

    def _gather(self, first: Group) -> tuple[list[Group], bool]:
        """What waits by now, and whether it is the last."""
        groups = [first]
        while len(groups) < BATCH and not self._groups.empty():
            group = self._groups.get()
            if group is None:
                return groups, True
            groups.append(group)
        return groups, False

    def _commit(self, groups: list[Group]) -> None:
        run = Run(self._db, self._encode, self._revision, self._next_key)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [[run.outcome(work) for work in group.works] for group in groups]
            run.finish()
            failpoints.hit("commit.before")
            started = time.perf_counter()
            self._db.execute("COMMIT")
        except Exception as error:
            self._refuse(groups, error)
            return
        synced = time.perf_counter() - started
        failpoints.hit("commit.after")
        self._revision, self._next_key = run.revision, run.next_key
        for group, found in zip(groups, outcomes, strict=True):
            group.answer(found)
        self.observer.committed(sum(map(len, outcomes)), synced)
        for listener in self._commit_listeners:
            listener()

    def _checkpoint_if_due(self) -> None:
        """Copy the journal into the database where it has grown, or has no room to grow: it then begins anew in its
        own place. What was answered does not wait for it."""
        if self._path is None or self._failed or self._settings is QUICK:
            return
        journal = self._path.with_name(f"{self._path.name}-wal")
        due = self._db.total_changes - self._copied >= CHECKPOINT_CHANGES
        if self._is_full and time.monotonic() - self._tried_at >= FULL_PAUSE_S:
            due, self._is_full, self._tried_at = True, False, time.monotonic()
        try:
            if due or journal.stat().st_size > JOURNAL_BYTES:
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                self._copied = self._db.total_changes
        except (sqlite3.Error, OSError) as error:
            failure = meaning(error, self._path) if isinstance(error, sqlite3.Error) else StorageFailed(str(error))
            if failure is None or not may_go_on(failure):
                self._fail(error)

    def _refuse(self, groups: list[Group], error: Exception) -> None:
        """Nothing of the batch is stored, or nobody knows: a full disk may go on, a failure may not."""
        failure = (meaning(error, self._path) if isinstance(error, sqlite3.Error) else None) or error
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            failure = StorageFailed("the ledger failed")
        if not may_go_on(failure):
            self._fail(error)
        self._is_full = isinstance(failure, StorageFull)
        _fail(groups, failure)
        if isinstance(failure, StorageFull | StorageRefused):
            if self._batches is not None:
                self._batches.drop()
            for listener in self._full_listeners:
                listener()

    def _fail(self, error: Exception) -> None:
        """Refuse everything from now on, and tell who listens, once."""
        with self._failing:
            already, self._failed = self._failed, True
        if not already:
            log.error("ledger failed", error=getattr(error, "sqlite_errorname", type(error).__name__), text=str(error))
            for listener in self._failure_listeners:
                listener()


def _fail(groups: list[Group], error: Exception) -> None:
    for group in groups:
        group.future.set_exception(error)
