"""One shared file compared with the ledger and with the mirror's index, as the mirror would, without doing anything."""

from __future__ import annotations

import contextlib
import enum
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from avocet_grpc.core.model import File, Source
from avocet_grpc.core.ports.mirror import START, Changed, Cursor, MirrorReader
from avocet_grpc.core.record import content_of
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.fs.exchange import displaced_by
from avocet_grpc.mirror.fs.scan import LineScanner, read_line
from avocet_grpc.mirror.inbound.line_diff import LineDiff, Unknown
from avocet_grpc.mirror.inbound.reconcile import DAMAGE_LINES, DAMAGE_SHARE
from avocet_grpc.mirror.index import Index, Place
from avocet_grpc.mirror.index_database import VERSION
from avocet_grpc.mirror.lines import Kind, Row

PAGE = 1_000
EXAMPLES = 5
TELL_EVERY = 4_096


class State(enum.Enum):
    """How the service is, or how it ended."""

    RUNNING = "running"
    CRASHED = "not stopped cleanly"
    STOPPED = "stopped"


class What(enum.Enum):
    """What differs, and what the service will do about it."""

    APPEND = "acknowledged and not in the file yet: will be appended"
    CHANGE = "acknowledged and not in the file yet: will be changed"
    REMOVE = "acknowledged and not in the file yet: will be removed"
    EDITED = "edited by others: will be accepted"
    OVERRULED = "edited by others before ours came: ours will be put back"
    NEW = "new, by others: will be taken in"
    FURTHER = "further lines of an id, by others: will be kept and counted"
    MALFORMED = "new and malformed, by others: will be kept and counted"
    STALE = "older states of ours: will be blanked"
    PUT_BACK = "missing: will be put back"
    DELETED = "deleted by others: will be accepted; if that was not meant, put the file back first"
    DOUBTFUL = "missing: deleted, once the file has been still for 10 s"


@contextlib.contextmanager
def open_index(path: Path, file: File) -> Iterator[Index | None]:
    """The index, opened to read; None if it is missing, damaged, or knows nothing of the file."""
    with contextlib.ExitStack() as stack:
        index = None
        with contextlib.suppress(sqlite3.Error):
            connection = stack.enter_context(
                contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True))
            )
            if connection.execute("PRAGMA user_version").fetchone() == (VERSION,):
                index = Index(connection)
                connection.execute("BEGIN")
                index = index if index.image(file) is not None else None
        yield index


class Comparison:
    """One comparison. `run` gives what differs, line by line, and whether it is damage.

    Raises FileChanged, OSError, sqlite3.Error.
    """

    def __init__(
        self,
        reader: MirrorReader,
        index: Index | None,
        file: File,
        path: Path,
        state: State,
        progress: Callable[[str, int, int], None],
    ) -> None:
        self._reader, self._index, self._file, self._path, self._state = reader, index, file, path, state
        self._progress = progress
        self._disk = Disk()
        self._found: defaultdict[What, list[str]] = defaultdict(list)
        self._seen: dict[str, bytes] = {}
        """Of ids in lines that the index does not have: the content there."""
        self._lost: list[Row] = []
        self._torn = False
        self._lines = 0

    def run(self) -> Iterator[tuple[str, bool]]:
        """Compare. A file that is missing is empty."""
        with self._disk.reading(self._path) as descriptor:
            size = self._disk.fstat(descriptor).size if descriptor >= 0 else 0
            gone, unknown = self._read(descriptor, size)
            for at in range(0, len(unknown), PAGE):
                self._judge(descriptor, unknown[at : at + PAGE])
        self._lost = [row for row in self._rows(gone) if row.kind is Kind.RECORD and row.id not in self._seen]
        records = self._hold_against_the_ledger()
        damage = list(self._damage(descriptor >= 0, size, records))
        self._judge_lost(damaged=bool(damage))
        yield from self._told()
        yield from ((text, True) for text in damage)
        for displaced in displaced_by(self._disk, self._path):
            yield f"{displaced.name} is left of a rewrite and may hold others' lines: will be read, then removed", False

    def _read(self, descriptor: int, size: int) -> tuple[list[Place], list[Unknown]]:
        """Return the rows that are no longer in the file, and the lines that the index does not have."""
        rows = self._index.places(self._file) if self._index is not None else iter(())
        diff, scanner = LineDiff(rows, lambda key, offset: None), LineScanner(self._disk, descriptor, 0, size)
        name = SHARED_FILES[self._file]
        for number, line in enumerate(scanner):
            diff.take(line)
            if number % TELL_EVERY == 0:
                self._progress(name, line.offset, size)
        self._progress(name, size, size)
        if (rest := scanner.rest) is not None:
            self._torn = rest.parsed().columns is None and not self._knows_malformed(rest.digest)
            diff.take(rest)
        self._lines = diff.lines
        return diff.finish()

    def _knows_malformed(self, digest: bytes) -> bool:
        return self._index is not None and self._index.has_malformed(self._file, digest)

    def _rows(self, places: list[Place]) -> list[Row]:
        keys = [place.key for place in places if place.offset is not None]
        return list(self._index.each(keys)) if self._index is not None else []

    def _judge(self, descriptor: int, lines: list[Unknown]) -> None:
        """Lines that the index does not have."""
        parsed = [
            (one, read_line(self._disk, descriptor, one.offset, one.length, one.digest).parsed()) for one in lines
        ]
        ids = {line.columns.id for _, line in parsed if line.columns is not None}
        now, known = self._reader.changed(self._file, ids), set[tuple[str, bytes]]()
        known = self._reader.knows(
            self._file, {(line.columns.id, content_of(line)) for _, line in parsed if line.columns is not None}
        )
        rows = self._index.lines(self._file, ids) if self._index is not None else None
        for one, line in parsed:
            if line.columns is None:
                if not self._torn:
                    self._found[What.MALFORMED].append(f"at byte {one.offset}")
                continue
            id, content = line.columns.id, content_of(line)
            state, row = now.get(id), rows.record(id) if rows is not None else None
            what = self._about(state, content, (id, content) in known, row.revision if row is not None else None)
            self._seen[id] = content
            if what is not None:
                self._found[what].append(id)

    def _about(self, state: Changed | None, content: bytes, is_known: bool, noted: int | None) -> What | None:
        """Return what becomes of a line, given its record now; `noted` is the revision that the index has of the id."""
        if state is not None and state.digest == content:
            return None
        if is_known:
            return What.STALE
        if state is None or state.raw is None:
            return What.NEW
        if noted is None:
            # Without an index no edit replaces what the service wrote.
            is_ours = self._index is None and state.source is Source.SERVICE
            return What.OVERRULED if is_ours else What.EDITED if self._index is None else What.FURTHER
        return What.EDITED if state.revision <= noted else What.OVERRULED

    def _hold_against_the_ledger(self) -> int:
        """Check that each record of the ledger is in the file or waits. Return how many there are."""
        count, after, lost = 0, 0, {row.id for row in self._lost}
        while page := self._reader.records(self._file, after, PAGE):
            rows = self._index.lines(self._file, [one.id for one in page]) if self._index is not None else None
            for one in page:
                row = rows.record(one.id) if rows is not None else None
                if one.id in lost or (one.id in self._seen and row is None):
                    continue
                if row is None:
                    self._found[What.APPEND if self._index is not None else What.PUT_BACK].append(one.id)
                elif row.offset is None:
                    self._found[What.PUT_BACK].append(one.id)
                elif row.content != one.digest and one.id not in self._seen:
                    self._found[What.CHANGE].append(one.id)
            count, after = count + len(page), page[-1].key
        if self._index is not None:
            self._look_for_removals(self._index)
        return count

    def _look_for_removals(self, index: Index) -> None:
        image = index.image(self._file)
        after = image.level if image is not None else START
        while changes := self._reader.changes(self._file, after, PAGE):
            removed = [one.id for one in changes if one.raw is None]
            rows = index.lines(self._file, removed)
            standing = [id for id in removed if any(row.offset is not None for row in rows.of(id))]
            self._found[What.REMOVE] += standing
            self._lost = [row for row in self._lost if row.id not in set(standing)]
            after = Cursor(changes[-1].revision, changes[-1].key)
        self._found[What.STALE] += [str(row.id or "") for row in index.of_kind(self._file, Kind.STALE, PAGE)]

    def _damage(self, exists: bool, size: int, records: int) -> Iterator[str]:
        if not exists and records:
            yield "the file is missing"
        mass = len(self._lost) > max(DAMAGE_LINES, DAMAGE_SHARE * records)
        if self._state is State.STOPPED and self._torn:
            yield "it is damaged: it ends inside a line"
        elif self._lost and (mass or not self._lines or self._torn):
            yield "it is damaged: whole parts of it are missing"

    def _judge_lost(self, damaged: bool) -> None:
        what = {State.STOPPED: What.DELETED, State.CRASHED: What.PUT_BACK, State.RUNNING: What.DOUBTFUL}[self._state]
        if damaged and self._state is not State.STOPPED:
            what = What.PUT_BACK
        self._found[what] += [row.id or "" for row in self._lost]

    def _told(self) -> Iterator[tuple[str, bool]]:
        for what in What:
            if which := [one for one in self._found[what] if one] or self._found[what]:
                more = ", ..." if len(which) > EXAMPLES else ""
                # Other programs chose the ids: control characters in them must not reach a terminal.
                names = ", ".join(one.encode("unicode_escape").decode() for one in which[:EXAMPLES])
                shown = f" ({names}{more})" if names else ""
                yield f"{len(which)} {what.value}{shown}", False
