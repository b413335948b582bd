"""The mirror's index, `.avocet/mirror.db`: which line stands where in the two files.

It can be rebuilt from the files and the ledger, so a damaged one is thrown away. A commit is durable before anything
relies on it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import structlog

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.core.record import digest_of
from avocet_grpc.mirror.fs.signature import Signature
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.index_database import IndexDamaged, connect, is_damage
from avocet_grpc.mirror.index_rows import COLUMNS, INSERT, UPDATE, insert_statement, row_of, values_of
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Row

log = structlog.get_logger(__name__)

AT_ONCE = 500
"""How many values one statement gets."""
MOVES_AT_ONCE = 10_000
MOST_ROWS = 64
"""Of one statement that inserts; a power of two."""
ALL_BEFORE = ""
"""Stands in `removals` for all ids that were removed before the index was made."""
# A duplicate stays behind the record of its id in the candidates file, and in front of it in the approved file.
IN_ORDER = """
SELECT l.key, l.digest, l.offset, l.length,
    CASE WHEN r.key IS NULL THEN l.order_key WHEN :approved THEN min(l.order_key, r.order_key)
        ELSE max(l.order_key, r.order_key) END AS first,
    CASE WHEN l.kind = 0 THEN 0 WHEN :approved AND r.key IS NOT NULL AND l.order_key >= r.order_key THEN -1
        ELSE 1 END AS second
FROM lines l LEFT JOIN lines r ON l.kind = 1 AND r.file = l.file AND r.id = l.id AND r.kind = 0
WHERE l.file = :file AND l.offset IS NOT NULL ORDER BY first, second, l.order_number, l.key
"""


# Begin with the lines that are not records: they are few.
SAME_BYTES = """
SELECT r.key, o.key, o.offset FROM lines o INDEXED BY other_lines
CROSS JOIN lines r INDEXED BY lines_by_id ON r.file = o.file AND r.id = o.id
WHERE o.file = :file AND o.kind <> 0 AND o.id IS NOT NULL AND o.offset IS NOT NULL
    AND r.kind = 0 AND r.offset IS NULL AND r.digest = o.digest ORDER BY r.key, o.offset
"""


class SameBytes(NamedTuple):
    """A line that stands at `offset` with the very bytes of a record that stands nowhere."""

    record: int
    key: int
    offset: int


class Place(NamedTuple):
    """A row in short: its key, the digest of its bytes, and where it stands; `order_key` is that of its Order."""

    key: int
    digest: bytes
    offset: int | None
    length: int
    order_key: int


@dataclass(frozen=True, slots=True)
class DisplacedRow:
    """A file that a replacement took away, as it was then, and the byte up to which it was read."""

    name: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    read_to: int


class Counts(NamedTuple):
    """What a file has besides its records, and how many rows it owes."""

    malformed: int
    duplicates: int
    owed: int
    stale: int


class Index:
    """The index of both files. It is used by one thread. Every method raises sqlite3.Error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Take a database that `connect` opened."""
        self._db = database
        database.execute("CREATE TEMP TABLE IF NOT EXISTS moves (key INTEGER PRIMARY KEY, offset INTEGER NOT NULL)")
        self._dirty_moves = False

    @classmethod
    def open(cls, path: Path, *, check: bool) -> Index:
        """Open the index; one that is damaged is thrown away. `check`: the last end was not clean, so look closely."""
        try:
            return cls(connect(path, check=check))
        except (sqlite3.DatabaseError, IndexDamaged) as error:
            if not is_damage(error):
                raise
            log.warning("the index is damaged: it is made again from the files", error=str(error))
        cls.remove(path)
        return cls(connect(path, check=False))

    @staticmethod
    def remove(path: Path) -> None:
        """Throw the index away."""
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close it; a transaction that is open is undone."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside are one, durable at the end. Inside another one it is part of that."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def image(self, file: File) -> FileImage | None:
        """Return the file as it was noted, None if the index knows nothing of it."""
        row = self._db.execute(
            "SELECT device, inode, size, mtime_ns, ctime_ns, read_to, newlines, blank, level_revision, level_key,"
            " last_key, incarnation FROM files WHERE file = ?",
            (file,),
        ).fetchone()
        if row is None:
            return None
        *place, read_to, newlines, blank, revision, key, last_key, incarnation = row
        noted = Signature(*place) if place[1] is not None else None
        return FileImage(noted, read_to, newlines, blank, Cursor(revision, key), incarnation, last_key)

    def save_image(self, file: File, image: FileImage) -> None:
        """Note what is to be known at the next start."""
        s = image.signature
        place = (s.device, s.inode, s.size, s.mtime_ns, s.ctime_ns) if s else (None,) * 5
        values = (*place, image.read_to, image.newlines, image.blank, image.last_key, *image.level, image.incarnation)
        self._db.execute(
            "INSERT OR REPLACE INTO files (file, device, inode, size, mtime_ns, ctime_ns, read_to, newlines, blank,"
            " last_key, level_revision, level_key, incarnation) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (file, *values),
        )

    def forget_file(self, file: File) -> None:
        """Remove all rows of a file; its displaced files stay known."""
        self._db.execute("DELETE FROM bodies WHERE key IN (SELECT key FROM lines WHERE file = ?)", (file,))
        for table in ("lines", "files", "removals"):
            self._db.execute(f"DELETE FROM {table} WHERE file = ?", (file,))

    def places(self, file: File) -> Iterator[Place]:
        """Give all rows in file order, then those that do not stand in the file."""
        query = (
            "SELECT key, digest, offset, length, order_key FROM lines WHERE file = ? ORDER BY offset IS NULL, offset"
        )
        return map(Place._make, self._db.execute(query, (file,)))

    def same_bytes(self, file: File) -> list[SameBytes]:
        """Return the standing lines with the bytes of records that do not stand."""
        return [*map(SameBytes._make, self._db.execute(SAME_BYTES, {"file": file}))]

    def in_order(self, file: File) -> Iterator[Place]:
        """Give the standing rows in the order in which a compaction writes them."""
        rows = self._db.execute(IN_ORDER, {"file": file, "approved": file is File.APPROVED})
        return (Place(key, digest, offset, length, first) for key, digest, offset, length, first, _ in rows)

    def lines(self, file: File, ids: Collection[str]) -> Lines:
        """Return all rows of some ids."""
        where = "file = ? AND id IN ({})"
        return Lines(file, self._rows(where, (file,), list(ids)))

    def each(self, keys: Sequence[int]) -> Iterator[Row]:
        """Give rows by their keys; those that are gone are left out."""
        return self._rows("key IN ({})", (), keys)

    def marked(self, file: File, mark: Mark, limit: int) -> list[Row]:
        """Return rows with a mark, oldest first."""
        query = f"SELECT {COLUMNS} FROM lines WHERE file = ? AND mark = ? AND mark <> 0 ORDER BY key LIMIT ?"
        return [row_of(values) for values in self._db.execute(query, (file, mark, limit))]

    def absent_lines(self, file: File, mark: Mark, digests: Collection[bytes]) -> list[Row]:
        """Return rows of another kind than RECORD with this mark whose lines are not in the file, oldest first.

        Those of lines with other digests are left out: very many may be owed.
        """
        query = (
            "SELECT key, digest FROM lines INDEXED BY marked_lines"
            " WHERE file = ? AND mark = ? AND mark <> 0 AND kind <> 0 AND offset IS NULL"
        )
        keys = [key for key, digest in self._db.execute(query, (file, mark)) if digest in digests]
        return sorted(self.each(keys), key=lambda row: row.key)

    def of_kind(self, file: File, kind: Kind, limit: int) -> list[Row]:
        """Return rows of another kind than RECORD, oldest first."""
        query = f"SELECT {COLUMNS} FROM lines WHERE file = ? AND kind = ? AND kind <> 0 ORDER BY key LIMIT ?"
        return [row_of(values) for values in self._db.execute(query, (file, kind, limit))]

    def set_aside(self, file: File) -> list[Row]:
        """Return malformed rows that have a content: `mirror.set_aside` says why."""
        query = f"SELECT {COLUMNS} FROM lines WHERE file = ? AND kind = 2 AND kind <> 0 AND content IS NOT NULL"
        return [row_of(values) for values in self._db.execute(query, (file,))]

    def ids_with_duplicates(self, file: File, after: str, limit: int) -> list[str]:
        """Return ids that have a duplicate, in order."""
        query = "SELECT DISTINCT id FROM lines WHERE file = ? AND kind = 1 AND kind <> 0 AND id > ? ORDER BY id LIMIT ?"
        return [id for (id,) in self._db.execute(query, (file, after, limit))]

    def ids(self, file: File, after: str, limit: int) -> list[str]:
        """Return ids that have any row, in order."""
        query = "SELECT DISTINCT id FROM lines WHERE file = ? AND id > ? ORDER BY id LIMIT ?"
        return [id for (id,) in self._db.execute(query, (file, after, limit))]

    def raw(self, key: int) -> bytes | None:
        """Return the bytes of a duplicate or malformed line; None if they were too many to keep."""
        row = self._db.execute("SELECT raw FROM bodies WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def has_malformed(self, file: File, digest: bytes) -> bool:
        """Return True if a malformed line has these bytes."""
        query = "SELECT 1 FROM lines WHERE file = ? AND kind = 2 AND kind <> 0 AND digest = ? LIMIT 1"
        return self._db.execute(query, (file, digest)).fetchone() is not None

    def is_empty(self, file: File) -> bool:
        """Return True if no line of the file is known."""
        return self._db.execute("SELECT 1 FROM lines WHERE file = ? LIMIT 1", (file,)).fetchone() is None

    def records(self, file: File) -> int:
        """Return how many records the file has."""
        count: int = self._db.execute("SELECT count(*) FROM lines WHERE file = ? AND kind = 0", (file,)).fetchone()[0]
        return count

    def counts(self, file: File) -> Counts:
        """Return what the report tells."""
        kinds = dict(
            self._db.execute(
                "SELECT kind, count(*) FROM lines WHERE file = ? AND kind <> 0 GROUP BY kind", (file,)
            ).fetchall()
        )
        owed = self._db.execute(
            "SELECT count(*) FROM lines WHERE file = ? AND mark = 1 AND mark <> 0", (file,)
        ).fetchone()[0]
        return Counts(kinds.get(Kind.MALFORMED, 0), kinds.get(Kind.DUPLICATE, 0), owed, kinds.get(Kind.STALE, 0))

    def insert(self, file: File, row: Row, raw: bytes | None = None) -> int:
        """Add one row; return its key."""
        number = self._db.execute(INSERT, (file, *values_of(row))).lastrowid
        assert number is not None
        if row.kind is not Kind.RECORD and row.order.number == 0:
            self._db.execute("UPDATE lines SET order_number = key WHERE key = ?", (number,))
        if raw is not None:
            self._keep_bytes(number, row, raw)
        return number

    def insert_records(self, file: File, rows: Iterable[Row]) -> None:
        """Add many records at once."""
        number, values = int(file), [values_of(row) for row in rows]
        start = 0
        # Many rows a statement: each statement lets go of the interpreter's lock and has to win it back.
        while left := len(values) - start:
            length = min(MOST_ROWS, 1 << left.bit_length() - 1)
            part = chain.from_iterable((number, *row) for row in values[start : start + length])
            self._db.execute(insert_statement(length), [*part])
            start += length

    def save(self, lines: Lines) -> None:
        """Store what changed of some rows."""
        if lines.removed:
            self.delete(lines.removed)
        self.put_all(lines.file, [(row, lines.raw.get(row.key)) for row in lines.changes()])

    def put_all(self, file: File, rows: Sequence[tuple[Row, bytes | None]]) -> None:
        """Store rows, new or changed, each with its bytes if it is a duplicate or malformed."""
        known = [row for row, _ in rows if row.key > 0]
        self._db.executemany(UPDATE, [(*values_of(row), row.key) for row in known])
        self._db.executemany(
            "DELETE FROM bodies WHERE key = ?", [(row.key,) for row in known if row.kind in (Kind.RECORD, Kind.STALE)]
        )
        self.insert_records(file, (row for row, _ in rows if row.key <= 0 and row.kind is Kind.RECORD))
        for row, raw in rows:
            if row.kind is Kind.RECORD:
                continue
            if row.key <= 0:
                self.insert(file, row, raw)
            elif raw is not None and row.kind is not Kind.STALE:
                self._keep_bytes(row.key, row, raw)

    def _keep_bytes(self, key: int, row: Row, raw: bytes) -> None:
        if digest_of(raw) != row.digest:
            raise ValueError("the bytes of another line would be put back for this one")
        self._db.execute("INSERT OR REPLACE INTO bodies (key, raw) VALUES (?,?)", (key, raw))

    def delete(self, keys: Iterable[int]) -> None:
        """Remove rows."""
        values = [(key,) for key in keys]
        self._db.executemany("DELETE FROM lines WHERE key = ?", values)
        self._db.executemany("DELETE FROM bodies WHERE key = ?", values)

    def lose(self, keys: Iterable[int]) -> None:
        """These rows no longer stand in the file."""
        self._db.executemany("UPDATE lines SET offset = NULL WHERE key = ?", ((key,) for key in keys))

    def begin_moves(self) -> Moves:
        """Collect where rows stand now, without holding them in memory."""
        if self._dirty_moves:
            self._db.execute("DELETE FROM temp.moves")
        self._dirty_moves = True
        return Moves(self._db)

    def removals(self, file: File, ids: Collection[str]) -> dict[str, float]:
        """Return when the service's removal of each id reached the file, as Unix times.

        For removals from before the index was made, that is when it was made.
        """
        found: dict[str, float] = {}
        for part in _parts([ALL_BEFORE, *ids]):
            marks = ",".join("?" * len(part))
            query = f"SELECT id, at FROM removals WHERE file = ? AND id IN ({marks})"
            found.update(self._db.execute(query, (file, *part)).fetchall())
        made_at = found.pop(ALL_BEFORE, None)
        return found if made_at is None else {id: found.get(id, made_at) for id in ids}

    def note_removals(self, file: File, ids: Iterable[str], at: float, forget_before: float) -> None:
        """Note that removals have reached the file, and forget old ones."""
        self._db.executemany(
            "INSERT OR REPLACE INTO removals (file, id, at) VALUES (?,?,?)", ((file, i, at) for i in ids)
        )
        self._db.execute("DELETE FROM removals WHERE file = ? AND at < ?", (file, forget_before))

    def displaced(self, file: File) -> list[DisplacedRow]:
        """Return the displaced files that are watched."""
        query = "SELECT name, device, inode, size, mtime_ns, read_to FROM displaced WHERE file = ?"
        return [DisplacedRow(*values) for values in self._db.execute(query, (file,))]

    def note_displaced(self, file: File, row: DisplacedRow) -> None:
        """Note a displaced file, or how far it was read."""
        values = (file, row.name, row.device, row.inode, row.size, row.mtime_ns, row.read_to)
        self._db.execute("INSERT OR REPLACE INTO displaced VALUES (?,?,?,?,?,?,?)", values)

    def forget_displaced(self, file: File, name: str) -> None:
        """The displaced file is gone."""
        self._db.execute("DELETE FROM displaced WHERE file = ? AND name = ?", (file, name))

    def _rows(self, where: str, before: tuple[int, ...], values: Sequence[int | str]) -> Iterator[Row]:
        for part in _parts(values):
            condition = where.format(",".join("?" * len(part)))
            query = f"SELECT {COLUMNS} FROM lines WHERE {condition}"
            yield from map(row_of, self._db.execute(query, (*before, *part)))


class Moves:
    """New places of rows, kept in a temporary table until they are applied."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._part: list[tuple[int, int]] = []
        self.count = 0

    def add(self, key: int, offset: int) -> None:
        """The row stands there now."""
        self._part.append((key, offset))
        self.count += 1
        if len(self._part) >= MOVES_AT_ONCE:
            self._flush()

    def apply(self) -> None:
        """Tell the rows. Call it inside a transaction."""
        self._flush()
        if self.count:
            self._db.execute("UPDATE lines SET offset = m.offset FROM temp.moves m WHERE lines.key = m.key")

    def _flush(self) -> None:
        if self._part:
            self._db.executemany("INSERT OR REPLACE INTO temp.moves (key, offset) VALUES (?,?)", self._part)
            self._part = []


def _parts(values: Sequence[int | str]) -> Iterator[Sequence[int | str]]:
    return (values[at : at + AT_ONCE] for at in range(0, len(values), AT_ONCE))
