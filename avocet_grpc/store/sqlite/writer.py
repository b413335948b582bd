"""One thread that commits whatever waits."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from avocet_grpc.core.errors import StorageFailed, StorageFull
from avocet_grpc.core.observer import SILENT, Observer
from avocet_grpc.store.sql.group import Group, Run
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.transaction import Encode
from avocet_grpc.store.sql.waiting import Waiting, refuse
from avocet_grpc.store.sqlite.condition import Condition
from avocet_grpc.store.sqlite.failure import may_go_on
from avocet_grpc.store.sqlite.session import JOURNAL_BYTES, SqliteSession, connect
from avocet_grpc.telemetry import failpoints
from avocet_grpc.telemetry.guard import guarded

CHECKPOINT_CHANGES = 60_000
"""Changed rows after which the journal is copied into the database."""
LARGEST_JOURNAL = 4 * JOURNAL_BYTES
"""With so many bytes commits wait for what copies it."""
PAUSE_S = 1.0
"""Between two times that the journal is copied."""
SMALL_JOURNAL = JOURNAL_BYTES // 16
"""A smaller one may take what is free on the disk."""
FEW_PAGES = 500
"""So many are copied in some milliseconds."""
PASSES = 3
FULL_PAUSE_S = 1.0


class Writer:
    """Takes groups of works, commits them and answers. `turn` keeps other writers of the ledger out meanwhile."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path | None,
        encode: Encode,
        *,
        turn: AbstractContextManager[Any],
        condition: Condition,
        waiting: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.observer: Observer = SILENT
        self.revision = self.last_key = 0
        self._db, self._session = connection, SqliteSession(connection, clock)
        self._path, self._encode, self._turn, self._condition = path, encode, turn, condition
        self._waiting = Waiting(waiting)
        self._listeners: list[Callable[[], None]] = []
        self._checkpoint = Checkpoint(connection, path, condition)
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def without_checkpoints(self) -> Iterator[None]:
        """Inside, the journal is not copied."""
        with self._checkpoint.kept_away():
            yield

    def on_commit(self, listener: Callable[[], None]) -> None:
        """See `core.ports.ledger.Ledger`."""
        self._listeners.append(guarded("listener", listener))

    def queue(self, group: Group) -> Any:
        """Let the group wait for the next commit. Returns its future."""
        if self._condition.failed:
            group.future.set_exception(StorageFailed("the ledger has stopped"))
            return group.future
        return self._waiting.put(group)

    def close(self) -> None:
        """Commit what waits, and end the thread."""
        self._waiting.close()
        self._thread.join()
        self._checkpoint.wait()

    def use_newest_dictionary(self) -> None:
        """Another one was stored."""
        self._session.lines.forget()

    def committed(self) -> None:
        """Tell who listens of a commit."""
        for listener in self._listeners:
            listener()

    def _work(self) -> None:
        copy_if_due = guarded("checkpoint", self._checkpoint.run_if_due)
        last = False
        while not last:
            groups, last = self._waiting.take()
            if self._condition.failed:
                refuse(groups, StorageFailed("the ledger has stopped"))
            elif groups:
                self._commit(groups)
                copy_if_due()
            # Texts of many megabytes would live until the next ones come.
            del groups

    def _commit(self, groups: list[Group]) -> None:
        try:
            with self._turn:
                outcomes, synced = self._run_or_fail(groups)
        except Exception as error:
            self._refuse(groups, error)
            return
        failpoints.hit("commit.after")
        for group, found in zip(groups, outcomes, strict=True):
            group.answer(found)
        self.observer.committed(sum(map(len, outcomes)), synced)
        self.committed()

    def _run_or_fail(self, groups: list[Group]) -> tuple[list[list[Any]], float]:
        """Judge a failure while the turn is held: nobody else may commit after it."""
        try:
            return self._run(groups)
        except Exception as error:
            found = self._condition.meaning(error) or error
            if not may_go_on(found):
                self._condition.fail(error)
            if found is error:
                raise
            raise found from error

    def _run(self, groups: list[Group]) -> tuple[list[list[Any]], float]:
        """Return what each work gave or raised, and how long the commit took.

        Raises if nothing is stored, or unknown.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            head = Queries(self._session).head()
            run = Run(self._session, head, self._encode, self._condition.is_at_fault)
            run.fetch([work for group in groups for work in group.works])
            outcomes = [[run.outcome(work) for work in group.works] for group in groups]
            run.finish()
            failpoints.hit("commit.before")
            started = time.perf_counter()
            self._db.execute("COMMIT")
            self.revision, self.last_key = run.head.revision, run.head.next_key - 1
            return outcomes, time.perf_counter() - started
        except Exception:
            self._session.lines.forget()
            roll_back(self._db)
            raise

    def _refuse(self, groups: list[Group], error: Exception) -> None:
        """Nothing of the groups is stored, or nobody knows: a full disk may go on, a failure may not."""
        if not may_go_on(error):
            self._condition.fail(error)
        self._checkpoint.is_full = isinstance(error, StorageFull)
        refuse(groups, error)
        self._condition.refused(error)


class Checkpoint:
    """Copies the journal into the database once it has grown. Commits hardly wait for it.

    A thread with a connection of its own copies most of it while commits go on. The writer copies what came meanwhile,
    since the journal only begins again if nothing is left. `lock` is held while it is decided what to do.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None, condition: Condition) -> None:
        self._db, self._path, self._condition = connection, path, condition
        self._journal = None if path is None else path.with_name(f"{path.name}-wal")
        self._copied = self._stood_at = 0
        self._began_at = self._tried_at = 0.0
        self._thread: threading.Thread | None = None
        # A start on a full disk could not empty the journal, which would fill the disk again.
        self.is_full = self._journal is not None and _size_of(self._journal) > 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def kept_away(self) -> Iterator[None]:
        """Inside, nothing is copied: the caller may use another kind of journal."""
        with self._lock:
            self.wait()
            yield

    def wait(self) -> None:
        """Wait for the thread, if there is one. It has closed its connection then."""
        if self._thread is not None:
            self._thread.join()

    def run_if_due(self) -> None:
        """Also if the disk is full: a journal without room to grow then begins again in its own place."""
        if self._journal is None or self._condition.failed:
            return
        with self._lock:
            try:
                self._run_if_due(self._journal, _size_of(self._journal))
            except OSError as error:
                self._condition.fail(error)

    def _run_if_due(self, journal: Path, size: int) -> None:
        now = time.monotonic()
        if self.is_full and now - self._tried_at >= FULL_PAUSE_S:
            self.is_full, self._tried_at = False, now
            self._copy(self._db)
        elif self._thread is not None:
            if size > LARGEST_JOURNAL:
                self._thread.join()
            if not self._thread.is_alive():
                self._thread = None
                self._copy(self._db)
        elif self._takes_the_room(journal, size) or (now - self._began_at >= PAUSE_S and self._is_large(size)):
            self._began_at, self._stood_at = now, size
            thread = threading.Thread(target=self._copy_most, name="ledger-checkpoint", daemon=True)
            thread.start()
            self._thread, self._copied = thread, self._db.total_changes

    def _is_large(self, size: int) -> bool:
        return self._db.total_changes - self._copied >= CHECKPOINT_CHANGES or size > JOURNAL_BYTES

    def _takes_the_room(self, journal: Path, size: int) -> bool:
        """Return whether the journal has grown to half of what is free: to copy it takes room, too."""
        self._stood_at = min(self._stood_at, size)
        if size <= max(SMALL_JOURNAL, self._stood_at):
            return False
        disk = os.statvfs(journal)
        return size * 2 > disk.f_bavail * disk.f_frsize

    def _copy_most(self) -> None:
        """Copy until few pages come while it copies."""
        try:
            with contextlib.closing(connect(self._path)) as connection:
                before, done = 0, self._copy(connection)
                for _ in range(PASSES):
                    if done - before < FEW_PAGES:
                        break
                    before, done = done, self._copy(connection)
        except sqlite3.Error as error:
            self._condition.judge(error)

    def _copy(self, connection: sqlite3.Connection) -> int:
        """Return how many pages of the journal are in the database now."""
        try:
            copied: int = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[2]
        except sqlite3.Error as error:
            self._condition.judge(error)
            return 0
        return copied


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that did not succeed. Raises StorageFailed."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StorageFailed("the ledger failed") from error


def _size_of(journal: Path) -> int:
    """0 without a journal: the last connection of another process took it away, or none has written yet."""
    try:
        return journal.stat().st_size
    except FileNotFoundError:
        return 0
