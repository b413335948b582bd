"""The ledger as a mirror sees it, whose commands are judged by the ledger's own rules and stored nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from avocet_grpc.core import external
from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.ports.ledger import HistoryEntry
from avocet_grpc.core.ports.mirror import (
    Changed,
    Cursor,
    Edit,
    Expected,
    FileReport,
    Found,
    Head,
    How,
    MirrorReader,
    Outcome,
    Verdict,
)
from avocet_grpc.core.record import content_of

BEHIND_ALL = 2**62
"""Above every key and revision of a ledger."""

NewestChange = Callable[[str, Callable[[HistoryEntry], bool]], HistoryEntry | None]


class RehearsedLedger:
    """Implements `core.ports.mirror.MirrorLedger` on a reader. What was accepted is kept in memory, with its lines.

    `taken`, `edited` and `deleted` have the id and the verdict of each line that a command was about, in order.
    """

    def __init__(self, reader: MirrorReader, newest_change: NewestChange) -> None:
        self._view = _View(reader)
        self._tx = _Transaction(self._view, newest_change)
        self.taken: list[tuple[str, Verdict]] = []
        self.edited: list[tuple[str, Verdict]] = []
        self.deleted: list[tuple[str, Verdict]] = []

    @contextlib.contextmanager
    def view(self) -> Iterator[MirrorReader]:
        """See the port: the reader's view, with what was accepted since."""
        yield self._view

    def take_over(self) -> int:
        """See the port: nobody is fenced."""
        return 0

    def adopt(self, epoch: int, file: File, lines: Iterable[ParsedLine]) -> Iterator[Outcome]:
        """See the port."""
        for line in lines:
            yield from self.take_in(epoch, file, [Found(line)], How.APPENDED, trusted=True)

    def take_in(self, epoch: int, file: File, lines: Sequence[Found], how: How, *, trusted: bool) -> list[Outcome]:
        """See the port."""
        outcomes = [external.take_in(self._tx, file, one, how, trusted=trusted) for one in lines]
        ids = [one.line.columns.id for one in lines if one.line.columns is not None]
        self.taken += zip(ids, (one.verdict for one in outcomes), strict=True)
        return outcomes

    def accept_edits(self, epoch: int, file: File, edits: Sequence[Edit], *, trusted: bool) -> list[Outcome]:
        """See the port."""
        outcomes = [external.accept_edit(self._tx, file, one, trusted=trusted) for one in edits]
        self.edited += zip((one.id for one in edits), (one.verdict for one in outcomes), strict=True)
        return outcomes

    def accept_deletions(self, epoch: int, file: File, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        """See the port."""
        outcomes = [external.accept_deletion(self._tx, file, id, expected) for id, expected in gone]
        self.deleted += zip((id for id, _ in gone), (one.verdict for one in outcomes), strict=True)
        return outcomes

    def respell(self, epoch: int, file: File, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        """See the port."""
        return [external.respell(self._tx, file, id, expected, line) for id, expected, line in lines]

    def set_report(self, epoch: int, file: File, report: FileReport) -> None:
        """See the port: nothing is reported."""


class _View:
    """A reader, with changes that are stored nowhere."""

    def __init__(self, reader: MirrorReader) -> None:
        self._reader = reader
        self.now: dict[tuple[File, str], Changed] = {}
        self.known: set[tuple[File, str, bytes]] = set()

    def head(self) -> Head:
        return self._reader.head()

    def changes(self, file: File, after: Cursor, limit: int) -> list[Changed]:
        return self._reader.changes(file, after, limit)

    def records(self, file: File, after_key: int, limit: int) -> list[Changed]:
        return self._reader.records(file, after_key, limit)

    def changed(self, file: File, ids: Collection[str]) -> dict[str, Changed]:
        found = self._reader.changed(file, ids)
        return found | {id: self.now[file, id] for id in ids if (file, id) in self.now}

    def knows(self, file: File, pairs: Collection[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        return self._reader.knows(file, pairs) | {pair for pair in pairs if (file, *pair) in self.known}

    def is_empty(self, file: File) -> bool:
        return self._reader.is_empty(file)

    def report(self, file: File) -> FileReport | None:
        return self._reader.report(file)


class _Transaction:
    """What `core.external` asks of a transaction, on such a view."""

    def __init__(self, view: _View, newest_change: NewestChange) -> None:
        self._view, self.newest_change = view, newest_change
        self._number = BEHIND_ALL

    def standing(self, file: File, id: str) -> Changed | None:
        return self._view.changed(file, [id]).get(id)

    def knows(self, file: File, line: ParsedLine) -> bool:
        return bool(self._view.knows(file, [(_id_of(line), content_of(line))]))

    def know(self, file: File, line: ParsedLine) -> None:
        self._view.known.add((file, _id_of(line), content_of(line)))

    def new_revision(self) -> int:
        self._number += 1
        return self._number

    def put(self, file: File, line: ParsedLine, source: Source = Source.SERVICE, *, new_key: bool = False) -> int:
        id, was = _id_of(line), self._leaves(file, _id_of(line))
        revision, removed = self.new_revision(), was.removed_revision if was is not None else 0
        key = revision if was is None or was.raw is None or new_key else was.key
        self._view.now[file, id] = Changed(id, key, revision, source, line.raw, content_of(line), removed)
        return key

    def remove(self, file: File, id: str, source: Source = Source.SERVICE) -> None:
        if (was := self._leaves(file, id)) is not None:
            revision = self.new_revision()
            self._view.now[file, id] = Changed(id, was.key, revision, source, None, None, revision)

    def respell(self, file: File, line: ParsedLine) -> None:
        pass

    def note(self, entry: HistoryEntry) -> None:
        pass

    def _leaves(self, file: File, id: str) -> Changed | None:
        """The version that stands is a past one from now on."""
        was = self.standing(file, id)
        if was is not None and was.digest is not None:
            self._view.known.add((file, id, was.digest))
        return was


def _id_of(line: ParsedLine) -> str:
    if line.columns is None:
        raise ValueError("a malformed line is not a record")
    return line.columns.id
