"""The changes that the shared files bring, and what is noted of the files themselves."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import File, LineKind, ParsedLine, Sync
from avocet_grpc.core.ports.files import DisplacedFile, Durable, FileState, Move, Place
from avocet_grpc.core.record import parse
from avocet_grpc.store.buffer import BODY, LINE, insert
from avocet_grpc.store.schema import LATE_INDEXES, NEVER
from avocet_grpc.store.transaction import SqlTransaction, is_queued, stored_columns

L = TypeVar("L")

ADOPT_ROWS = 1_000

PLACE_LINE = (
    "UPDATE lines SET position = ?, length = ?, file_digest = ?, synced_at = CASE WHEN ? THEN ? ELSE synced_at END,"
    " sync = CASE WHEN sync = 3 THEN 3 WHEN digest = ? THEN 0 ELSE 2 END WHERE key = ?"
)
# An index of the file's lines would be gone through for each move, hence the plus: it takes that index away.
MOVE_LINES = "UPDATE lines SET position = position + ? WHERE key BETWEEN ? AND ? AND +file = ? AND position IS NOT NULL"


class FileTransaction(SqlTransaction):
    """Implements `core.ports.Transaction`."""

    def adopt(self, file: File, line: ParsedLine, offset: int, length: int) -> LineKind:
        kind = self._kind_of(file, line)
        self._insert(file, line, kind, Sync.CLEAN, offset, length)
        return kind

    def adopt_all(self, file: File, lines: Iterable[tuple[int, ParsedLine]]) -> None:
        with self._indexes_last():
            for part in batched(lines, ADOPT_ROWS):
                self._adopt_some(file, part)

    def save(self, file: File, line: ParsedLine) -> LineKind:
        kind = self._kind_of(file, line)
        self._insert(file, line, kind, Sync.APPEND, None, None)
        return kind

    def respell(self, key: int, line: ParsedLine, offset: int) -> None:
        self._db.execute(
            "UPDATE lines SET digest = ?, file_digest = ?, position = ?, length = ?, sync = 0 WHERE key = ?",
            (line.digest, line.digest, offset, len(line.raw), key),
        )
        self._db.execute("UPDATE bodies SET raw = ? WHERE key = ?", (line.raw, key))

    def edit(self, key: int, line: ParsedLine, offset: int, length: int) -> None:
        old = self._row(key)
        self._remember_past(old)
        self._update(old, line, Sync.CLEAN, offset, length, line.digest)

    def forget(self, key: int) -> None:
        old = self._row(key)
        if old["sync"] != Sync.REMOVE:
            self.new_revision()
            self._withdraw(old)
        self._db.execute("DELETE FROM lines WHERE key = ?", (key,))
        self._db.execute("DELETE FROM bodies WHERE key = ?", (key,))
        if old["kind"] == LineKind.RECORD and old["sync"] != Sync.REMOVE:
            self._promote(File(old["file"]), old["id"])

    def placed(self, key: int, digest: bytes, offset: int, length: int, ours: bool) -> None:
        self.placed_all([(key, digest, offset, length, ours)])

    def placed_all(self, places: Iterable[Place]) -> None:
        now = time.time()
        rows = ((at, length, digest, ours, now, digest, key) for key, digest, at, length, ours in places)
        self._db.executemany(PLACE_LINE, rows)

    def settle_duplicates(self, file: File, before: Mapping[str, list[int]]) -> list[tuple[bytes, bytes]]:
        settled = []
        for id, keys in self.duplicate_order(file).items():
            known = set(before.get(id, ())) & set(keys)
            was = [key for key in before.get(id, ()) if key in known]
            record = self.line_of(file, id)
            # Not the order alone: a record that we changed stands at the end until the file is compacted.
            if record is None or keys == sorted(keys) or was == [key for key in keys if key in known]:
                continue
            raw = self.raw(record.key)
            self._exchange(file, keys)
            record = self.line_of(file, id)
            settled.append((raw, self.raw(record.key) if record else raw))
        return [(old, new) for old, new in settled if old != new]

    def _exchange(self, file: File, keys: list[int]) -> None:
        """Give the keys, from the lowest, the lines in their order in the file, which is that of `keys`."""
        standing = [(self.line(key), parse(self.raw(key))) for key in keys]
        for key, (place, line) in zip(sorted(keys), standing, strict=True):
            if place is not None and place.offset is not None:
                self.edit(key, line, place.offset, len(line.raw))
        chosen = min(keys)
        if file == File.APPROVED:
            lines = list(zip(sorted(keys), (line for _, line in standing), strict=True))
            good = [key for key, line in lines if line.record and is_exportable(line.record)]
            chosen = good[-1] if good else max(keys)
        self._choose(file, keys, chosen)

    def _choose(self, file: File, keys: list[int], chosen: int) -> None:
        """Of the lines of one id this one is the record, and no other."""
        for key in keys:
            row = self.line(key)
            if row is not None and row.kind is LineKind.RECORD and key != chosen:
                self._close_example(key)
                self._set_kind(key, LineKind.DUPLICATE)
        row = self.line(chosen)
        if row is not None and row.kind is LineKind.DUPLICATE:
            self._set_kind(chosen, LineKind.RECORD)
            line = parse(self.raw(chosen))
            if file == File.APPROVED and line.record is not None:
                self._open_example(chosen, line.record, stored_columns(line))

    def moved_all(self, file: File, moves: Iterable[Move]) -> None:
        self._db.executemany(
            MOVE_LINES,
            ((by, first, last, file) for first, last, by in moves),
        )

    def unplaced(self, key: int) -> None:
        self._db.execute(
            "UPDATE lines SET position = NULL, length = NULL, file_digest = NULL,"
            " sync = CASE WHEN sync = 3 THEN 3 ELSE 1 END WHERE key = ?",
            (key,),
        )

    def set_file_state(self, file: File, state: FileState) -> None:
        s = state
        self._db.execute("DELETE FROM files WHERE file = ?", (file,))
        self._db.execute(
            "INSERT INTO files (file, device, inode, size, mtime_ns, ctime_ns, scanned, blank)"
            " VALUES (?,?,?,?,?,?,?,?)",
            (file, s.device, s.inode, s.size, s.mtime_ns, s.ctime_ns, s.scanned, s.blank),
        )

    def set_durable(self, file: File, durable: Durable) -> None:
        self._db.execute("DELETE FROM durable WHERE file = ?", (file,))
        values = (file, durable.revision, durable.at)
        self._db.execute("INSERT INTO durable (file, revision, at) VALUES (?,?,?)", values)

    def note_displaced(self, file: File, displaced: DisplacedFile) -> None:
        self.drop_displaced(file, displaced.name)
        d = displaced
        self._db.execute(
            "INSERT INTO displaced (file, name, device, inode, size, mtime_ns, read_to) VALUES (?,?,?,?,?,?,?)",
            (file, d.name, d.device, d.inode, d.size, d.mtime_ns, d.read_to),
        )

    def drop_displaced(self, file: File, name: str) -> None:
        self._db.execute("DELETE FROM displaced WHERE file = ? AND name = ?", (file, name))

    @contextlib.contextmanager
    def _indexes_last(self) -> Iterator[None]:
        """Into an empty ledger: sorting an index once costs a third of growing it line by line."""
        if self._db.execute("SELECT 1 FROM lines LIMIT 1").fetchone():
            yield
            return
        for name in LATE_INDEXES:
            self._db.execute(f"DROP INDEX {name}")
        yield
        for statement in LATE_INDEXES.values():
            self._db.execute(statement)

    def _adopt_some(self, file: File, lines: Sequence[tuple[int, ParsedLine]]) -> None:
        """Lines whose id is new go in together; the others decide among themselves what each counts as."""
        seen: set[str] = set()
        plain: list[tuple[int, ParsedLine]] = []
        known, db = "SELECT 1 FROM lines WHERE file = ? AND id = ? AND kind = 0", self._db
        for offset, line in lines:
            id = line.columns.id if line.columns else None
            if id is None or (id not in seen and db.execute(known, (file, id)).fetchone() is None):
                plain.append((offset, line))
                seen.add(id or "")
                continue
            self._insert_all(file, plain)
            plain = []
            self.adopt(file, line, offset, len(line.raw))
        self._insert_all(file, plain)

    def _insert_all(self, file: File, lines: list[tuple[int, ParsedLine]]) -> None:
        """What `_insert` does, for lines that stand in the file and whose ids are new."""
        if not lines:
            return
        first, revision = self.next_key, self.new_revision()
        self.next_key += len(lines)
        rows, alike = [], Counter[tuple[LineKind, tuple[Any, ...]]]()
        for key, (offset, line) in enumerate(lines, first):
            kind = LineKind.MALFORMED if line.columns is None else LineKind.RECORD
            columns = stored_columns(line)
            alike[kind, columns[:6]] += 1
            queued = is_queued(file, kind, columns[0])
            place = (queued, revision, line.digest, Sync.CLEAN, offset, len(line.raw), line.digest, 0.0)
            rows.append((key, file, kind, line.columns.id if line.columns else None, *columns, *place))
            if file == File.APPROVED and line.record is not None:
                self._open_example(key, line.record, columns)
        for (kind, columns), number in alike.items():
            self._count(file, kind, columns, number)
        db = self._db
        insert(db, LINE, rows)
        insert(db, BODY, [(key, line.raw) for key, (_, line) in enumerate(lines, first)])

    def _kind_of(self, file: File, line: ParsedLine) -> LineKind:
        if line.columns is None or line.record is None:
            return LineKind.MALFORMED
        standing = self.line_of(file, line.columns.id)
        if standing is None:
            return LineKind.RECORD
        if file == File.CANDIDATES:
            return LineKind.DUPLICATE
        if self._is_open(standing.key) and not is_exportable(line.record):
            return LineKind.DUPLICATE
        self._close_example(standing.key)
        self._set_kind(standing.key, LineKind.DUPLICATE)
        return LineKind.RECORD

    def _promote(self, file: File, id: str) -> None:
        """A duplicate takes the place of a record that is gone: the first in candidates, the last in approved."""
        order = "key" if file == File.CANDIDATES else "key DESC"
        rows = self._db.execute(
            f"SELECT key FROM lines WHERE file = ? AND id = ? AND kind = 1 AND sync <> 3 ORDER BY {order}", (file, id)
        ).fetchall()
        if not rows:
            return
        lines = {key: parse(self.raw(key)) for (key,) in rows[: None if file == File.APPROVED else 1]}
        chosen = next((k for k, line in lines.items() if line.record and is_exportable(line.record)), rows[0][0])
        self._set_kind(chosen, LineKind.RECORD)
        if file == File.APPROVED and (record := lines[chosen].record) is not None:
            self._open_example(chosen, record, stored_columns(lines[chosen]))

    def _set_kind(self, key: int, kind: LineKind) -> None:
        old = self._row(key)
        columns = tuple(old)[4:13]
        self._count(File(old["file"]), LineKind(old["kind"]), columns, -1)
        self._count(File(old["file"]), kind, columns, +1)
        queued = is_queued(File(old["file"]), kind, columns[0])
        self._db.execute(
            "UPDATE lines SET kind = ?, queued = ?, revision = ? WHERE key = ?",
            (kind, queued, self.new_revision(), key),
        )

    def _is_open(self, key: int) -> bool:
        query = "SELECT 1 FROM examples WHERE key = ? AND removed_revision = ?"
        return self._db.execute(query, (key, NEVER)).fetchone() is not None


def batched(lines: Iterable[L], most: int) -> Iterator[list[L]]:
    """The lines in lists of at most `most`."""
    source = iter(lines)
    while part := list(islice(source, most)):
        yield part
