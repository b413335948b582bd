"""What every part of the mirror of one file works with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.mirror import Changed, Edit, Expected, Found, How, MirrorLedger, Outcome, Verdict
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk, FileChanged
from avocet_grpc.mirror.index import Index
from avocet_grpc.mirror.set_aside import SetAside, at_fault, is_of_a_line

log = structlog.get_logger(__name__)

T = TypeVar("T")

FRESH_S = 60.0
"""A program that rewrote the file may not know a version of ours that was in it for less than this."""


@dataclass(frozen=True, slots=True)
class Session:
    """The ledger under this mirror's epoch, the index, the disk and the clock, for one file."""

    file: File
    ledger: MirrorLedger
    epoch: int
    index: Index
    disk: Disk
    clock: Clock
    observer: Observer
    aside: SetAside

    def changed(self, ids: Sequence[str]) -> dict[str, Changed]:
        """Return the records of these ids as they are now, tombstones too."""
        if not ids:
            return {}
        with self.ledger.view() as view:
            return view.changed(self.file, ids)

    def knows(self, pairs: Sequence[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        """Return the pairs of id and content digest that the ledger has had."""
        if not pairs:
            return set()
        with self.ledger.view() as view:
            return view.knows(self.file, pairs)

    def take_in(self, lines: Sequence[Found], how: How, *, trusted: bool = False) -> list[Outcome]:
        """Report lines that the index does not know. Raises FileChanged if some had to be set aside: look again."""

        def judge(some: Sequence[Found]) -> list[Outcome]:
            return self.ledger.take_in(self.epoch, self.file, some, how, trusted=trusted)

        return self._judged(lines, judge, lambda one: one.line)

    def accept_edits(self, edits: Sequence[Edit], *, trusted: bool = False) -> list[Outcome]:
        """Report changed records. Raises FileChanged if some lines had to be set aside: look again."""

        def judge(some: Sequence[Edit]) -> list[Outcome]:
            return self.ledger.accept_edits(self.epoch, self.file, some, trusted=trusted)

        return self._judged(edits, judge, lambda one: one.line)

    def accept_deletions(self, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        """Report records that disappeared."""
        return self._judged(gone, lambda some: self.ledger.accept_deletions(self.epoch, self.file, some))

    def respell(self, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        """Report the same content in other bytes."""
        return self._judged(lines, lambda some: self.ledger.respell(self.epoch, self.file, some))

    def _judged(
        self,
        asked: Sequence[T],
        judge: Callable[[Sequence[T]], list[Outcome]],
        line_of: Callable[[T], ParsedLine] | None = None,
    ) -> list[Outcome]:
        """Ask the ledger. What its code fails at is set aside; without a line to set aside, it is overruled."""
        if not asked:
            return []
        try:
            return judge(asked)
        except Exception as error:
            failed = at_fault(asked, judge) if is_of_a_line(error) else []
            if not failed:
                raise
            if line_of is not None:
                for line, why in ((line_of(one), why) for one, why in failed):
                    self.aside.add(line.digest, why, line.columns.id if line.columns else None)
                raise FileChanged from error
            return self._overruled(asked, judge, failed)

    def _overruled(
        self, asked: Sequence[T], judge: Callable[[Sequence[T]], list[Outcome]], failed: list[tuple[T, Exception]]
    ) -> list[Outcome]:
        bad = {id(one) for one, _ in failed}
        for _, why in failed:
            log.error("change of others not taken in", file=SHARED_FILES[self.file], error=str(why), exc_info=why)
        outcomes = iter(judge([one for one in asked if id(one) not in bad]))
        return [Outcome(Verdict.OVERRULED, None) if id(one) in bad else next(outcomes) for one in asked]


def is_fresh(written_at: float | None, mtime: float) -> bool:
    """Return whether a version of ours stood in the file for less than 60 s when the file was changed.

    By the file's own time and not by now, since a mirror may look long after. A negative age is fresh: the clock was
    set back.
    """
    return written_at is not None and mtime - written_at < FRESH_S
