"""The mirror's commands on any engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol, TypeVar

from avocet_grpc.core import external
from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.ports.mirror import (
    Edit,
    Expected,
    Fenced,
    FileReport,
    Found,
    How,
    MirrorReader,
    NotEmpty,
    Outcome,
)
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.loading import Load
from avocet_grpc.store.sql.transaction import SqlTransaction

T = TypeVar("T")


class Engine(Protocol):
    """What an engine does for the mirror."""

    def write(self, work: Callable[[Any], T]) -> Any:
        """Run a work; see `core.ports.ledger.Ledger`."""

    def session(self) -> AbstractContextManager[Session]:
        """Return one consistent view."""

    def loading(self) -> AbstractContextManager[Load]:
        """Return one large change that the caller makes step by step; committed at the end, undone by an error."""


class SqlMirrorLedger:
    """Implements `core.ports.mirror.MirrorLedger`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.contextmanager
    def view(self) -> Iterator[MirrorReader]:
        """One consistent view. An engine in memory has no other one meanwhile: leave it before sending a command."""
        with self._engine.session() as session:
            yield SqlMirrorReader(session)

    def take_over(self) -> int:
        def work(tx: SqlTransaction) -> int:
            tx.head = tx.head._replace(mirror_epoch=tx.head.mirror_epoch + 1)
            return tx.head.mirror_epoch

        epoch: int = self._engine.write(work).result()
        return epoch

    def adopt(self, epoch: int, file: File, lines: Iterable[ParsedLine]) -> Iterator[Outcome]:
        """See the port: an outcome for each line, and the commit once all were taken."""
        with self._engine.loading() as load:
            _check(load.epoch, epoch)
            if not load.is_empty(file):
                raise NotEmpty("only a file that the ledger has nothing of can be adopted")
            yield from load.lines(file, lines)

    def take_in(self, epoch: int, file: File, lines: Sequence[Found], how: How, *, trusted: bool) -> list[Outcome]:
        def judge(part: Sequence[Found], tx: SqlTransaction) -> list[Outcome]:
            return [external.take_in(tx, file, one, how, trusted=trusted) for one in part]

        # A record changes once at a revision.
        parts = (self._judge(epoch, partial(judge, part)) for part in _without_repeats(lines))
        return [outcome for part in parts for outcome in part]

    def accept_edits(self, epoch: int, file: File, edits: Sequence[Edit], *, trusted: bool) -> list[Outcome]:
        return self._judge(epoch, lambda tx: [external.accept_edit(tx, file, one, trusted=trusted) for one in edits])

    def accept_deletions(self, epoch: int, file: File, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        return self._judge(epoch, lambda tx: [external.accept_deletion(tx, file, *one) for one in gone])

    def respell(self, epoch: int, file: File, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        return self._judge(epoch, lambda tx: [external.respell(tx, file, *one) for one in lines])

    def set_report(self, epoch: int, file: File, report: FileReport) -> None:
        def work(tx: SqlTransaction) -> None:
            _check(tx.head.mirror_epoch, epoch)
            tx.set_report(file, report)

        self._engine.write(work).result()

    def _judge(self, epoch: int, judge: Callable[[SqlTransaction], list[Outcome]]) -> list[Outcome]:
        def work(tx: SqlTransaction) -> list[Outcome]:
            _check(tx.head.mirror_epoch, epoch)
            return judge(tx)

        outcomes: list[Outcome] = self._engine.write(work).result()
        return outcomes


def _without_repeats(lines: Sequence[Found]) -> Iterator[list[Found]]:
    """Cut the lines into parts in which no id stands twice; no lines are one part."""
    part: dict[str | None, Found] = {}
    for one in lines:
        id = one.line.columns.id if one.line.columns else None
        if id in part:
            yield [*part.values()]
            part = {}
        part[id] = one
    yield [*part.values()]


def _check(current: int, epoch: int) -> None:
    if current != epoch:
        raise Fenced("another mirror has taken over")
