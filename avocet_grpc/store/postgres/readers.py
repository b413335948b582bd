"""The connections on which calls read."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psycopg

from avocet_grpc.core.errors import StorageUnreachable
from avocet_grpc.store.postgres.connect import Connection, connect
from avocet_grpc.store.postgres.failure import Meaning, meaning, refusal, text_of
from avocet_grpc.store.postgres.reach import Reach
from avocet_grpc.store.postgres.session import CLOCK, PostgresSession, StoreClock

T = TypeVar("T")
TRUST_CLOCK_S = 10.0


class Readers:
    """As many connections as calls read at once. `clock` None: the database's, which is asked now and then."""

    def __init__(self, url: str, reach: Reach, clock: Callable[[], float] | None) -> None:
        self._url, self._reach = url, reach
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._store_clock = StoreClock()
        self._clock = clock or self._store_clock
        self._clock_is_given = clock is not None
        self._looked_at_clock = float("-inf")

    def read(self, work: Callable[[PostgresSession], T]) -> T:
        """Run `work` on one consistent view, again if the connection breaks.

        Raises what it raises, StorageUnreachable or Overloaded.
        """
        began = time.monotonic()
        while True:
            try:
                with self.view() as session:
                    return work(session)
            except _Broken:
                self._reach.pause(began)

    @contextlib.contextmanager
    def session(self) -> Iterator[PostgresSession]:
        """One consistent view. Raises StorageUnreachable or Overloaded."""
        try:
            with self.view() as session:
                yield session
        except _Broken as error:
            raise StorageUnreachable("the connection to the database broke") from error

    @contextlib.contextmanager
    def view(self) -> Iterator[PostgresSession]:
        """One consistent view, without another attempt."""
        try:
            connection = self._taken()
            try:
                self._look_at_clock(connection)
                yield PostgresSession(connection, self._clock, reading=True)
                _end(connection)
            except BaseException:
                _close_unless_usable(connection)
                raise
            finally:
                if not connection.closed:
                    self._idle.put(connection)
            self._reach.found()
        except psycopg.Error as error:
            match meaning(error):
                case Meaning.LOST | Meaning.AGAIN:
                    self._drop_idle()
                    self._reach.lost(text_of(error))
                    raise _Broken from error
                case Meaning.REFUSED:
                    raise refusal(error) from error
            raise

    def close(self) -> None:
        """Close what nobody uses."""
        self._drop_idle()

    def _taken(self) -> Connection:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        return connect(self._url, heeds_limits=True)

    def _look_at_clock(self, connection: Connection) -> None:
        if self._clock_is_given or time.monotonic() - self._looked_at_clock < TRUST_CLOCK_S:
            return
        row = connection.execute(CLOCK).fetchone()
        self._store_clock.set(float(row[0]) if row else time.time())
        self._looked_at_clock = time.monotonic()

    def _drop_idle(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()


class _Broken(Exception):
    """The view is gone; another one may be had."""


def _end(connection: Connection) -> None:
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        connection.execute("COMMIT")


def _close_unless_usable(connection: Connection) -> None:
    try:
        if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()
