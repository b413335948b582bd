"""Notices what other servers commit, and that the database was restored.

Each commit sends a notification. It is a short cut: without any, the head is looked at so often that nobody who follows
waits for long.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import psycopg

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.store.postgres.connect import Connection, DatabaseUnusable, connect
from avocet_grpc.store.postgres.head import HERE, NOTED
from avocet_grpc.store.postgres.session import PostgresSession
from avocet_grpc.telemetry.guard import failed, guarded

EVERY_S = 0.05
"""How often the head is looked at."""
LISTENING_S = 0.5
"""The same while notifications come."""
AGAIN_S = 1.0
"""Between two attempts to connect."""

LOOK = (
    "SELECT revision, noted.database IS NOT NULL AND here IS DISTINCT FROM noted"
    f" FROM head, ({HERE}) here, ({NOTED}) noted"
)
CHANNEL = "avocet_commits"
LISTEN = f"SET application_name = 'avocet-grpc listener'; LISTEN {CHANNEL}"


def notification(server: str) -> str:
    """Return the statement with which a server tells the others of the commit that it is part of."""
    return f"NOTIFY {CHANNEL}, '{server}'"


class Wake:
    """Calls `ring` whenever another server than `own` has committed; in a thread of its own.

    It is called for the server's own commits too, now and then. `look` is called several times a second, `note` as
    often as the ledger is seen to lie elsewhere than it says: a commit must note that, and there may be none for long.
    """

    def __init__(
        self,
        url: str,
        own: str,
        read: Callable[[Callable[[PostgresSession], Seen | None]], Seen | None],
        ring: Callable[[], None],
        look: Callable[[], None] = lambda: None,
        note: Callable[[], None] = lambda: None,
    ) -> None:
        self._own, self._read, self._ring = own, read, guarded("waking", ring)
        self._look, self._note = guarded("waking", look), guarded("waking", note)
        self._ended = threading.Event()
        self._listener = _Listener(url, self._ended)
        self._seen: Seen | None = None
        self._thread = threading.Thread(target=self._watch, name="ledger-wake", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        next_look, every, notified = 0.0, EVERY_S, False
        with contextlib.closing(self._listener):
            while not self._ended.is_set():
                servers = self._listener.next_commits(EVERY_S)
                self._look()
                if servers:
                    notified = True
                    if servers != {self._own}:
                        self._ring()
                if servers is not None and time.monotonic() < next_look:
                    continue
                if self._has_grown():
                    # A pooler in between may take LISTEN and never pass on a notification.
                    every, notified = LISTENING_S if notified else EVERY_S, False
                    self._ring()
                next_look = time.monotonic() + every

    def _has_grown(self) -> bool:
        """Look at the head; True if it is another one than at the last look, or if this is the first one.

        What was committed just before the first look has rung for nobody.
        """
        try:
            now = self._read(lambda session: session.one(Seen, LOOK))
        except CorrectionsError:
            return False
        except Exception as error:
            failed("waking", error)
            return False
        if now is None:
            # A restore has emptied the table.
            return False
        if now.has_moved:
            self._note()
        before, self._seen = self._seen, now
        return before != now


class Seen(NamedTuple):
    """The newest revision, and whether the ledger lies elsewhere than it says: it was failed over or restored."""

    revision: int
    has_moved: bool


class _Listener:
    """The connection on which notifications come; connected again whenever it breaks."""

    def __init__(self, url: str, ended: threading.Event) -> None:
        self._url, self._ended = url, ended
        self._db: Connection | None = None
        self._tried_at = float("-inf")

    def next_commits(self, seconds: float) -> set[str] | None:
        """Return the servers that have committed; empty if none has within so many seconds.

        Return None without a connection, or with a new one: other servers may have committed before it listened.
        """
        try:
            if self._db is not None:
                return {one.payload for one in self._db.notifies(timeout=seconds, stop_after=1)}
            if time.monotonic() - self._tried_at > AGAIN_S:
                self._tried_at = time.monotonic()
                self._db = connect(self._url)
                self._db.execute(LISTEN)
                return None
        except (psycopg.Error, DatabaseUnusable):
            self.close()
        except Exception as error:
            failed("waking", error)
            self.close()
        self._ended.wait(seconds)
        return None

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None
