"""The works of one commit, one after the other; shared by all engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.core.ports.ledger import NoRoom, Reads
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.pending import Pending
from avocet_grpc.store.sql.reader import SqlReader
from avocet_grpc.store.sql.room import RoomOf
from avocet_grpc.store.sql.rows import HeadRow
from avocet_grpc.store.sql.transaction import Encode, SqlTransaction

Work = Callable[[Any], Any]

SET_HEAD = "UPDATE head SET " + ", ".join(f"{name} = :{name}" for name in HeadRow._fields)


@dataclass(slots=True)
class Group:
    """Works that are answered together; `one` if it is one work, whose value or error is the answer."""

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
    """Runs works inside a transaction that holds the head. `is_storage` tells an engine's failure from a work's."""

    def __init__(
        self, session: Session, head: HeadRow, encode: Encode, is_storage: Callable[[Exception], bool]
    ) -> None:
        self.head = head
        self._session, self._encode, self._is_storage = session, encode, is_storage
        self._pending, self._reader = Pending(), SqlReader(session)

    def fetch(self, works: Sequence[Work]) -> None:
        """Read at once what the works say that they will read: each query has to win the interpreter's lock again."""
        ids = {id for work in works if isinstance(work, Reads) for id in work.ids}
        if len(ids) > 1:
            self._pending.stored.update(self._reader.queries.stored_small(ids))

    def outcome(self, work: Work) -> Any:
        """Return what the work gives or raises. Raises only if the storage fails."""
        tx = SqlTransaction(self._session, self.head, self._encode, self._pending, self._reader)
        try:
            with RoomOf(work):
                value = work(tx)
        except Exception as error:
            if self._is_storage(error):
                raise
            tx.undo()
            # Of what was foreseen nobody wants the frames, and they hold the transaction.
            return error.with_traceback(None) if isinstance(error, CorrectionsError | NoRoom) else error
        self.head = tx.keep()
        if self._pending.is_full():
            self._pending.flush(self._session)
        return value

    def finish(self) -> None:
        """Write what still waits, and the head."""
        self._pending.flush(self._session)
        self._session.execute(SET_HEAD, self.head._asdict())
