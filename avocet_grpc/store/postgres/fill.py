"""Takes a whole ledger of another engine into an empty database, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from avocet_grpc.store.postgres.connect import Connection, DatabaseUnusable
from avocet_grpc.store.postgres.head import note_home
from avocet_grpc.store.postgres.session import CLOCK, COLUMNS, POSTGRES, PostgresSession, StoreClock
from avocet_grpc.store.sql.claims import PostponedRow
from avocet_grpc.store.sql.counts import CountsToAdd
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.group import SET_HEAD
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.rows import BodyRow, RecordRow, fitted, indexed, selected

TABLES = (
    "records", "bodies", "examples", "past", "history", "requests", "reports", "claims", "postponed", "snapshots",
    "moments",
)  # fmt: skip
"""All that are copied row by row. `head` and `meta` are set, counts are counted again, and each engine stores lines in
its own way."""
NUMBERED = ("examples", "history", "snapshots")
"""Those whose rows the engine numbers."""
OF_ONE_ENGINE = frozenset({"schema_version", "restored", "machine_start", "machine_started_at"})
STEP = 1_000

Progress = Callable[[str, int, int], None]
"""Told a table's name, how many of its rows are done, and of how many."""


class NotEmpty(DatabaseUnusable):
    """The database holds something already; the text says so."""


class Filled(NamedTuple):
    """The ledger's revision, and how many rows were copied: 0 if the database had this ledger already."""

    revision: int
    rows: int


def fill(db: Connection, source: Session, progress: Progress) -> Filled:
    """Copy all of `source`, one consistent view of a ledger, all or nothing. Raises NotEmpty, psycopg.Error.

    Revisions, keys, numbers and the incarnation stay what they are, so every token and snapshot stays good.
    """
    clock = StoreClock()
    head = Queries(source).head()
    with db.transaction():
        target = PostgresSession(db, clock)
        # Nobody commits until this is done.
        held = db.execute("SELECT incarnation, revision FROM head FOR UPDATE").fetchone()
        now = db.execute(CLOCK).fetchone()
        clock.set(float(now[0]) if now else 0.0)
        if held is not None and held[0] == head.incarnation:
            if held[1] < head.revision:
                raise NotEmpty(
                    f"the database has an older copy of this ledger: it ends at revision {held[1]}, and the ledger has"
                    f" gone on to {head.revision}; copy into a new database, after avocet-grpc migrate"
                )
            return Filled(int(held[1]), 0)
        if any(target.number(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT 1) found") for table in TABLES):
            raise NotEmpty("the database is not empty; copy into a new one, after avocet-grpc migrate")
        copy = _Copy(db, source, progress)
        rows = sum(map(copy.table, TABLES))
        copy.write_counts(target)
        for name, value in source.all(tuple, "SELECT name, value FROM meta"):
            if name not in OF_ONE_ENGINE:
                Queries(target).set_meta(name, value)
        # A mirror of the other engine must not go on here.
        target.execute(SET_HEAD, head._replace(mirror_epoch=head.mirror_epoch + 1)._asdict())
        note_home(db, target)
    return Filled(head.revision, rows)


class _Copy:
    """One table after the other; living records are counted on the way."""

    def __init__(self, db: Connection, source: Session, progress: Progress) -> None:
        self._db, self._source, self._progress = db, source, progress
        self._counts = CountsToAdd()

    def table(self, table: str) -> int:
        """Copy a table. Returns how many rows it has."""
        if table == "records":
            return self._copied(table, RecordRow._fields, self._records())
        if table == "bodies":
            return self._copied(table, BodyRow._fields, self._bodies())
        if table == "postponed":
            return self._copied(table, PostponedRow._fields, self._postponed())
        columns = [name for _, name, _ in self._db.execute(COLUMNS, [table]).fetchall()]
        rows: Iterator[tuple[Any, ...]] = self._source.each(tuple, f"SELECT {', '.join(columns)} FROM {table}")
        if table == "examples":
            rows = self._examples(rows, columns.index("encoded"))
        done = self._copied(table, columns, rows)
        if table in NUMBERED:
            following = f"(SELECT coalesce(max(number), 0) + 1 FROM {table})"
            self._db.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'number'), {following}, false)".encode())
        return done

    def write_counts(self, target: Session) -> None:
        """Write what was counted."""
        self._counts.write(target)

    def _copied(self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> int:
        kinds = {name: kind for _, name, kind in self._db.execute(COLUMNS, [table]).fetchall()}
        total, done = self._source.number(f"SELECT count(*) FROM {table}"), 0
        self._progress(table, 0, total)
        statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with self._db.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.set_types([kinds[name] for name in columns])
            for done, row in enumerate(rows, 1):
                copy.write_row(row)
                if done % STEP == 0:
                    self._progress(table, done, total)
        self._progress(table, total, total)
        return done

    def _bodies(self) -> Iterator[BodyRow]:
        for row in self._source.each(BodyRow, f"SELECT {selected(BodyRow)} FROM bodies"):
            yield row._replace(raw=PostgresSession.lines.packed(self._source.lines.unpacked(row.size, row.raw)))

    def _examples(self, rows: Iterator[tuple[Any, ...]], at: int) -> Iterator[tuple[Any, ...]]:
        unpacked, packed = self._source.lines.unpacked_example, PostgresSession.lines.packed_example
        return ((*row[:at], packed(unpacked(row[at])), *row[at + 1 :]) for row in rows)

    def _postponed(self) -> Iterator[PostponedRow]:
        for row in self._source.each(PostponedRow, f"SELECT {selected(PostponedRow)} FROM postponed"):
            yield row._replace(reviewer=indexed(row.reviewer, POSTGRES.longest_indexed))

    def _records(self) -> Iterator[RecordRow]:
        for row in self._source.each(RecordRow, f"SELECT {selected(RecordRow)} FROM records"):
            kept = fitted(row, POSTGRES.longest_indexed)
            if kept.lives:
                self._counts.count(kept, 1)
            yield kept
