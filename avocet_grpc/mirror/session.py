"""What every part of the mirror of one file works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.mirror import Changed, Edit, Expected, Found, How, MirrorLedger, Outcome
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.index import Index

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
        """Report lines that the index does not know."""
        return self.ledger.take_in(self.epoch, self.file, lines, how, trusted=trusted) if lines else []

    def accept_edits(self, edits: Sequence[Edit], *, trusted: bool = False) -> list[Outcome]:
        """Report changed records."""
        return self.ledger.accept_edits(self.epoch, self.file, edits, trusted=trusted) if edits else []

    def accept_deletions(self, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        """Report records that disappeared."""
        return self.ledger.accept_deletions(self.epoch, self.file, gone) if gone else []

    def respell(self, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        """Report the same content in other bytes."""
        return self.ledger.respell(self.epoch, self.file, lines) if lines else []


def is_fresh(written_at: float | None, mtime: float) -> bool:
    """Return whether a version of ours stood in the file for less than 60 s when the file was changed.

    By the file's own time and not by now, since a mirror may look long after. A negative age is fresh: the clock was
    set back.
    """
    return written_at is not None and mtime - written_at < FRESH_S
