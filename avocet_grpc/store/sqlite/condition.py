"""Whether the storage still works, and who wants to know."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from avocet_grpc.core.errors import CorrectionsError, StorageFailed, StorageFull
from avocet_grpc.store.sqlite.failure import StorageRefused, may_go_on, meaning
from avocet_grpc.telemetry.guard import guarded

log = structlog.get_logger(__name__)


class Condition:
    """The state of one ledger's storage. Any thread may call it."""

    def __init__(self, path: Path | None) -> None:
        self.failed = False
        self._path = path
        self._lock = threading.Lock()
        self._on_failure: list[Callable[[], None]] = []
        self._on_full: list[Callable[[], None]] = []

    def on_failure(self, listener: Callable[[], None]) -> None:
        """See `core.ports.ledger.Ledger`."""
        self._on_failure.append(guarded("listener", listener))

    def on_full(self, listener: Callable[[], None]) -> None:
        """See `core.ports.ledger.Ledger`."""
        self._on_full.append(guarded("listener", listener))

    def meaning(self, error: Exception) -> CorrectionsError | None:
        """Return what callers get for an error of SQLite; None if the storage is not at fault."""
        return meaning(error, self._path) if isinstance(error, sqlite3.Error) else None

    def is_at_fault(self, error: Exception) -> bool:
        """Return whether the storage is at fault for an error."""
        return self.meaning(error) is not None

    def judge(self, error: Exception) -> CorrectionsError | None:
        """`meaning`; after a failure the ledger is not used again, and all who listen are told."""
        found = self.meaning(error)
        if found is not None and not may_go_on(found):
            self.fail(error)
        return found

    def refused(self, error: Exception) -> None:
        """A change was refused with this error."""
        if isinstance(error, StorageFull | StorageRefused):
            for listener in self._on_full:
                listener()

    def fail(self, error: Exception) -> None:
        """Refuse everything from now on, and tell who listens, once."""
        with self._lock:
            already, self.failed = self.failed, True
        if not already:
            log.error("ledger failed", error=getattr(error, "sqlite_errorname", type(error).__name__), text=str(error))
            for listener in self._on_failure:
                listener()

    def check(self) -> None:
        """Raises StorageFailed once the storage has failed."""
        if self.failed:
            raise StorageFailed("the ledger has stopped")
