"""The mirror: the process that keeps the two shared files and the ledger level."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import structlog

from avocet_grpc.core.errors import Overloaded, StorageFailed, StorageFull
from avocet_grpc.core.model import File
from avocet_grpc.core.observer import SILENT, Observer
from avocet_grpc.core.ports.mirror import Fenced
from avocet_grpc.durable import NO_ROOM
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance import files_id
from avocet_grpc.maintenance.files_id import WrongDirectory
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.fs.lease import ignore_sigio
from avocet_grpc.mirror.mirror import Mirror
from avocet_grpc.processes.bells import Bell
from avocet_grpc.processes.ledger import open_ledger
from avocet_grpc.processes.memory import keep_small
from avocet_grpc.processes.messages import Alive, Failed, Measure, Measured, Ping, Prepared, Running, Stop
from avocet_grpc.processes.parent import Parent
from avocet_grpc.store.sqlite import search_index
from avocet_grpc.store.sqlite.failure import StorageRefused, kind_of
from avocet_grpc.store.sqlite.integrity import LedgerUnusable
from avocet_grpc.store.sqlite.search_index import SearchFollower
from avocet_grpc.telemetry import logs
from avocet_grpc.telemetry.guard import GuardedObserver, failed, guarded
from avocet_grpc.wording import FILES_BEHIND, NEEDS_DRIVER

LOOK_EVERY_S = 0.25
NOT_LEVEL_S = 0.05
GATHER_S = 0.03
"""Commits that come within this time go out together."""
GATHER_BUSY_S = 0.2
BUSY_LINES = range(16, 2_000)
"""After a round of this many lines, wait longer: each round has a fixed cost that callers feel."""
FULL_PAUSE_S = 1.0
SEARCH_STEP_S = 0.5
SEARCH_PAUSE_S = 0.005
SEARCH_AGAIN_S = 30.0
TELL_EVERY_S = 5.0

log = structlog.get_logger("avocet_grpc")


def run(parent: Parent) -> int:
    """Follow the ledger until the supervisor says Stop. Gives the exit code."""
    logs.configure(parent.begin.settings.log_level, process=parent.begin.name)
    keep_small()
    ignore_sigio()
    if not parent.may_go(Prepared()):
        return ExitCode.OK
    try:
        with ExitStack() as stack:
            return _follower(parent, stack).run()
    except StorageRefused as error:
        return _complain(str(error))
    except StorageFailed:
        parent.report(Failed())
        logs.flush()
        os._exit(ExitCode.STORAGE_FAILED)
    except (LedgerUnusable, StorageFull, WrongDirectory) as error:
        return _complain(str(error))
    except Fenced:
        return _complain("another process keeps the shared files")
    except OSError as error:
        return _complain(f"cannot use the shared files: {error.strerror or type(error).__name__} ({error.filename})")


def _follower(parent: Parent, stack: ExitStack) -> Follower:
    settings = parent.begin.settings
    if not settings.is_shared:
        files_id.refuse_if_shared(DataDirectory(settings.data_dir))
        return Follower(parent, stack)
    try:
        from avocet_grpc.processes.keeper_process import Keeper
    except ImportError as error:
        raise LedgerUnusable(NEEDS_DRIVER) from error
    return Keeper(parent, stack)


class Follower:
    """The mirror's main thread; a second one takes the supervisor's orders."""

    def __init__(self, parent: Parent, stack: ExitStack) -> None:
        self._parent, self._settings = parent, parent.begin.settings
        self._bell = Bell(parent.begin.bell)
        self._ending = threading.Event()
        self._observer: Observer = SILENT
        self._refused = False
        self._measure: Callable[[], Measured] = lambda: Measured([])
        self._ledger = open_ledger(parent.begin, lambda: parent.report(Failed()))
        stack.callback(self._ledger.close)
        self._begin(stack)
        self._mirror = self._new_mirror()
        if self._settings.metrics_listen:
            self._count()
        threading.Thread(target=self._take_orders, name="orders", daemon=True).start()

    def _begin(self, stack: ExitStack) -> None:
        """Make what a mirror needs beside the ledger."""

    def _new_mirror(self) -> Mirror:
        return Mirror(self._ledger.mirror(), self._settings.data_dir, Disk(), Clock(), self._observer)

    def _count(self) -> None:
        from avocet_grpc.processes.exposition import families_of
        from avocet_grpc.telemetry.metrics import Metrics

        metrics = Metrics()
        metrics.lag_seconds = lambda: self._mirror.lag_seconds
        self._observer = self._ledger.observer = GuardedObserver(metrics)
        self._mirror = self._new_mirror()
        self._measure = lambda: Measured(families_of(metrics.registry))

    def run(self) -> int:
        """Adopt the files, then keep them level until the end."""
        level = self._adopted()
        self._parent.report(Running())
        while not level and not self._ending.wait(FULL_PAUSE_S):
            self._mirror = self._new_mirror()
            level = self._adopted()
        if level:
            search = self._search()
            self._follow()
            if search.is_alive():
                search.join(SEARCH_STEP_S)
            level = self._stopped()
        if not level:
            self._say_behind()
        return ExitCode.OK if level else ExitCode.FILES_BEHIND

    def _say_behind(self) -> None:
        logs.say(f"avocet-grpc: {FILES_BEHIND}")

    def _search(self) -> threading.Thread:
        """Keep the index of texts in a thread of its own, or delete one that nobody asked for."""
        path = DataDirectory(self._settings.data_dir).search
        if not self._settings.search:
            search_index.delete(path)
        thread = threading.Thread(target=self._index_texts, args=(path,), name="search", daemon=True)
        if self._settings.search:
            thread.start()
        return thread

    def _index_texts(self, path: Path) -> None:
        follower = SearchFollower(path, self._ledger.mirror())
        while not self._ending.is_set():
            try:
                more = follower.step()
            except Exception as error:
                # A search works without the index, and slower.
                if not isinstance(error, sqlite3.Error | OSError):
                    failed("search", error)
                log.error("texts not indexed; the index is made again", error=str(error))
                follower.close()
                with contextlib.suppress(OSError):
                    search_index.delete(path)
                more = False
                self._ending.wait(SEARCH_AGAIN_S)
            self._ending.wait(SEARCH_PAUSE_S if more else SEARCH_STEP_S)
        follower.close()

    def _stopped(self) -> bool:
        try:
            return self._mirror.stop(self._settings.sync_seconds)
        except (StorageRefused, Overloaded):
            return False

    def _adopted(self) -> bool:
        """Compare the files with the ledger. False if that has to be tried again, and the ledger knows the files.

        A ledger that has too much to do and does not know them yet is asked again here, until the end.
        """
        while True:
            try:
                self._mirror.adopt(Progress())
            except Overloaded as error:
                self._mirror.close()
                self._say_not_compared(str(error))
                if self._were_adopted() or self._ending.wait(FULL_PAUSE_S):
                    return False
                self._mirror = self._new_mirror()
            except (OSError, StorageFull, sqlite3.OperationalError) as error:
                self._mirror.close()
                if not _is_full(error) or not self._were_adopted():
                    raise
                self._say_not_compared("the disk is full")
                return False
            else:
                self._refused = False
                return True

    def _say_not_compared(self, why: str) -> None:
        if not self._refused:
            log.error(f"shared files not compared: {why}", retry_in_seconds=FULL_PAUSE_S)
        self._refused = True

    def _were_adopted(self) -> bool:
        """Return whether the ledger is known to have taken in both files once."""
        try:
            with self._ledger.mirror().view() as view:
                return all(view.report(file) is not None for file in File)
        except Overloaded:
            return False

    def _follow(self) -> None:
        level = True
        while self._goes_on():
            if not self._mirror.is_copying:
                self._wait(level)
            self._bell.take()
            if not self._ending.is_set():
                level = self._round()

    def _wait(self, level: bool) -> None:
        """Wait for a commit or for the time of the next look, and then for commits that follow it closely."""
        self._bell.wait(LOOK_EVERY_S if level else NOT_LEVEL_S)
        busy = not self._mirror.is_urgent and self._mirror.written in BUSY_LINES
        self._ending.wait(GATHER_BUSY_S if busy else GATHER_S)

    def _goes_on(self) -> bool:
        return not self._ending.is_set()

    def _round(self) -> bool:
        """Run one round. If the disk takes no writes, the next one tries again."""
        try:
            level = self._mirror.round()
        except StorageRefused as error:
            if not self._refused:
                log.error("shared files not brought up to date", error=str(error))
            self._refused = True
            return True
        self._refused = False
        return level

    def _take_orders(self) -> None:
        # A failure would end the thread, and no order would be taken after it.
        measure = guarded("metrics", lambda: self._parent.report(self._measure()))
        while not isinstance(order := self._parent.next_order(), Stop):
            if isinstance(order, Measure):
                measure()
            elif isinstance(order, Ping):
                self._parent.report(Alive())
        self._ending.set()
        self._bell.ring()


class Progress:
    """Says how far the adoption of a large file is, now and then."""

    def __init__(self) -> None:
        self._next = time.monotonic() + TELL_EVERY_S

    def __call__(self, name: str, done: int, total: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + TELL_EVERY_S
            log.info("comparing a shared file with the ledger", file=name, bytes=done, of=total)


def _is_full(error: Exception) -> bool:
    """Return whether the disk has no room for what the mirror or the ledger writes."""
    if isinstance(error, sqlite3.Error):
        return kind_of(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in NO_ROOM)


def _complain(line: str) -> int:
    logs.say(f"avocet-grpc: {line}")
    return ExitCode.FAILED
