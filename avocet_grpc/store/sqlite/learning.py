"""Training a dictionary beside the service, each time that the ledger has grown tenfold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.rows import DictionaryRow
from avocet_grpc.store.sqlite.compression import FIRST_AT, due, due_at, trained
from avocet_grpc.telemetry.guard import failed

log = structlog.get_logger(__name__)


class Learning:
    """Looks after each commit whether a dictionary is due. Several processes may: the first dictionary is kept.

    `view` gives a consistent view of the ledger. `keep` stores a dictionary durably; None if another process has by
    now. Lines are compressed by the newest one once it returns.
    """

    def __init__(
        self, view: Callable[[], AbstractContextManager[Session]], keep: Callable[[DictionaryRow | None], None]
    ) -> None:
        self._view, self._keep = view, keep
        self._due_at = due_at(0)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def committed(self, last_key: int) -> None:
        """The newest record has this key. The writer's thread calls it."""
        if last_key < self._due_at:
            return
        with self._lock:
            if not self._closed and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=self._learn, args=(last_key,), name="ledger-learning", daemon=True)
                thread.start()
                self._thread = thread

    def close(self) -> None:
        """Wait until nothing is trained any more."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.join()

    def _learn(self, last_key: int) -> None:
        try:
            with self._view() as session:
                number = due(session, last_key)
                row = None if number is None else trained(session, number, last_key)
            self._keep(row)
            with self._view() as session:
                self._due_at = due_at(session.number("SELECT coalesce(max(number), 0) FROM dictionaries"))
        except CorrectionsError as error:
            log.warning("no dictionary was trained", error=str(error))
            self._due_at = last_key + FIRST_AT
        except Exception as error:
            failed("learning", error)
            self._due_at = last_key + FIRST_AT
