"""PostgresLedger: the ledger in a PostgreSQL database, for any number of servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

import psycopg
import structlog

from avocet_grpc.core.errors import StorageUnreachable
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.store.postgres.config import StoredConfig
from avocet_grpc.store.postgres.connect import DatabaseUnusable, connect, shown
from avocet_grpc.store.postgres.failure import Meaning, meaning, refusal, text_of
from avocet_grpc.store.postgres.head import Head
from avocet_grpc.store.postgres.keeper import state_of
from avocet_grpc.store.postgres.migrate import refuse_other_schema
from avocet_grpc.store.postgres.reach import Reach
from avocet_grpc.store.postgres.readers import Readers
from avocet_grpc.store.postgres.session import PostgresSession
from avocet_grpc.store.postgres.settings import refuse_if_unfit, refuse_if_unsafe
from avocet_grpc.store.postgres.wake import Wake
from avocet_grpc.store.postgres.writer import Writer
from avocet_grpc.store.sql.group import SET_HEAD, Group
from avocet_grpc.store.sql.loading import Load
from avocet_grpc.store.sql.mirror import SqlMirrorLedger
from avocet_grpc.store.sql.reader import SqlReader
from avocet_grpc.store.sql.room import RoomOf
from avocet_grpc.store.sql.transaction import Encode, SqlTransaction

T = TypeVar("T")

WAITING = 10_000

log = structlog.get_logger(__name__)


class CannotReach(DatabaseUnusable):
    """The database cannot be used at the start; the text says why, without a password."""


class PostgresLedger:
    """Implements `core.ports.ledger.Ledger` in the database at `url`, whose tables `migrate` has made.

    Any number of servers may have it open. `encode` gives an example's bytes, `waiting` is how many groups of changes
    may wait. `warns` logs what the database cannot promise.
    `clock` gives Unix time in seconds; without it the database's clock counts, which all servers share.

    Raises CannotReach, SchemaUnusable, UnsafeDatabase or NotAnAddress.
    """

    def __init__(
        self,
        url: str,
        encode: Encode,
        *,
        waiting: int = WAITING,
        clock: Callable[[], float] | None = None,
        warns: bool = True,
    ) -> None:
        self._url, self._encode = url, encode
        self._closed = False
        self._look(warns)
        self.reach = Reach()
        self._readers = Readers(url, self.reach, clock)
        self._writer = Writer(url, encode, self.reach, waiting=waiting, clock=clock)
        writer = self._writer
        self._wake = Wake(url, writer.server, self._readers.read, writer.committed, writer.look, writer.commit_nothing)

    @property
    def observer(self) -> Observer:
        """Told of each commit."""
        return self._writer.observer

    @observer.setter
    def observer(self, observer: Observer) -> None:
        self._writer.observer = observer

    def read(self, work: Callable[[SqlReader], T]) -> T:
        """See the port. Raises StorageUnreachable after 30 s without a database."""
        with RoomOf(work):
            return self._readers.read(lambda session: work(SqlReader(session)))

    def write(self, work: Callable[[SqlTransaction], T]) -> Future[T]:
        """See the port."""
        future: Future[T] = self._writer.queue(Group((work,), one=True))
        return future

    def write_all(self, works: Sequence[Callable[[SqlTransaction], T]]) -> Future[list[T | Exception]]:
        """See the port."""
        future: Future[list[T | Exception]] = self._writer.queue(Group(works, one=False))
        return future

    def on_commit(self, listener: Callable[[], None]) -> None:
        """See the port; other servers' commits count too, once this one has noticed them."""
        self._writer.on_commit(listener)

    def on_failure(self, listener: Callable[[], None]) -> None:
        """See the port: a database that fails is not this server's storage, so the listener is never called."""

    def on_full(self, listener: Callable[[], None]) -> None:
        """See the port."""
        self._writer.on_full(listener)

    def on_reach(self, listener: Callable[[bool], None]) -> None:
        """Call `listener` with False once the database cannot be reached, and with True once it can be again."""
        self.reach.on_change(listener)

    def session(self) -> contextlib.AbstractContextManager[PostgresSession]:
        """Return one consistent view of the ledger. Raises StorageUnreachable or Overloaded."""
        return self._readers.session()

    @contextlib.contextmanager
    def loading(self) -> Iterator[Load]:
        """One large change that the caller makes step by step; committed at the end, undone by an error.

        Nobody commits meanwhile. Raises StorageFull, StorageUnreachable or Overloaded.
        """
        try:
            # A server that is stopped in the middle must not keep the head from the others.
            with connect(self._url, holds_head=True) as db:
                session = PostgresSession(db, time.time)
                head = Head("loading")
                load = Load(session, head.lock(db, session).head, self._encode)
                yield load
                session.execute(SET_HEAD, load.finish()._asdict())
                db.execute("COMMIT")
        except psycopg.Error as error:
            if meaning(error) is Meaning.WORK:
                raise
            if meaning(error) is Meaning.REFUSED:
                raise refusal(error) from error
            raise StorageUnreachable("the connection to the database broke") from error
        self._writer.committed()

    def mirror(self) -> SqlMirrorLedger:
        """Return the ledger as the mirror sees it: `core.ports.mirror.MirrorLedger`."""
        return SqlMirrorLedger(self)

    def keeper(self) -> KeeperState:
        """Return who keeps the files. Raises StorageUnreachable."""
        return self._readers.read(state_of)

    def config(self) -> StoredConfig:
        """Return the configuration that all servers share."""
        return StoredConfig(self._url, self._readers)

    def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        # Who waits for a database that is away gives up: what is done at once is still done.
        self.reach.ended.set()
        self._wake.close()
        self._writer.close()
        self._readers.close()

    def _look(self, warns: bool) -> None:
        """Is there a database with our tables that keeps what it promises?"""
        try:
            with connect(self._url) as db:
                refuse_if_unfit(db)
                refuse_other_schema(db, shown(self._url))
                warning = refuse_if_unsafe(db)
        except psycopg.Error as error:
            raise CannotReach(f"cannot use the database {shown(self._url)}: {text_of(error)}") from error
        if warns and warning is not None:
            log.warning(warning)
