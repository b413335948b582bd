"""What every part of the mirror of one file works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.mirror import Changed, Cursor, Edit, Expected, Found, How, MirrorLedger, Outcome, Verdict
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.index import Index
from avocet_grpc.mirror.set_aside import SetAside, judged

log = structlog.get_logger(__name__)

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

    def unseen_removals(self, now: Mapping[str, Changed], level: Cursor, mtime: float) -> set[str]:
        """Return the ids of which a program may not know that the service removed them, as they are `now`.

        The program changed a file at `mtime` that was at `level` of the ledger.
        """
        reached = self.index.removals(self.file, now)
        removed = [one for one in now.values() if one.raw is None and one.source is Source.SERVICE]
        return {
            one.id for one in removed if Cursor(one.revision, one.key) > level or is_fresh(reached.get(one.id), mtime)
        }

    def take_in(self, lines: Sequence[Found], how: How, *, trusted: bool = False) -> list[Outcome | None]:
        """Report lines that the index does not know; None for one that was set aside."""

        def judge(some: Sequence[Found]) -> list[Outcome]:
            return self.ledger.take_in(self.epoch, self.file, some, how, trusted=trusted)

        return self._set_aside([one.line for one in lines], judged(lines, judge)) if lines else []

    def accept_edits(self, edits: Sequence[Edit], *, trusted: bool = False) -> list[Outcome | None]:
        """Report changed records; None for one whose line was set aside."""

        def judge(some: Sequence[Edit]) -> list[Outcome]:
            return self.ledger.accept_edits(self.epoch, self.file, some, trusted=trusted)

        return self._set_aside([one.line for one in edits], judged(edits, judge)) if edits else []

    def accept_deletions(self, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        """Report records that disappeared."""

        def judge(some: Sequence[tuple[str, Expected]]) -> list[Outcome]:
            return self.ledger.accept_deletions(self.epoch, self.file, some)

        return [self._or_overruled(one) for one in judged(gone, judge)] if gone else []

    def respell(self, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        """Report the same content in other bytes."""

        def judge(some: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
            return self.ledger.respell(self.epoch, self.file, some)

        return [self._or_overruled(one) for one in judged(lines, judge)] if lines else []

    def _set_aside(self, lines: list[ParsedLine], outcomes: list[Outcome | Exception]) -> list[Outcome | None]:
        for line, outcome in zip(lines, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.aside.add(line.digest, outcome)
        return [None if isinstance(outcome, Exception) else outcome for outcome in outcomes]

    def _or_overruled(self, outcome: Outcome | Exception) -> Outcome:
        """Without a line to set aside, what the ledger's code fails at is undone in the file."""
        if not isinstance(outcome, Exception):
            return outcome
        log.error("change of others not taken in", file=SHARED_FILES[self.file], error=str(outcome), exc_info=outcome)
        return Outcome(Verdict.OVERRULED, None)


def is_fresh(written_at: float | None, mtime: float) -> bool:
    """Return whether a version of ours stood in the file for less than 60 s when the file was changed.

    By the file's own time and not by now, since a mirror may look long after. A negative age is fresh: the clock was
    set back.
    """
    return written_at is not None and mtime - written_at < FRESH_S
