"""Making a ledger of version 4 from one of version 3.

Version 3 kept the lines of the shared files with their places. Records, revisions, keys, history, request ids and
examples live on; places, duplicates and malformed lines are the mirror's, which reads the files again. The new ledger
is built beside the old one and takes its place in one step, so that a kill at any moment leaves one of the two.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from avocet_grpc.core.export import shard_hash
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import ChangeAction, File, Source
from avocet_grpc.core.record import content_of, parse, record_in
from avocet_grpc.durable import put_in_place, sync_directory
from avocet_grpc.store.sql import schema
from avocet_grpc.store.sql.bodies import body_row, insert_examples, stored_once
from avocet_grpc.store.sql.counts import CountsToAdd
from avocet_grpc.store.sql.group import SET_HEAD
from avocet_grpc.store.sql.queries import ANY_PRINCIPAL, Queries
from avocet_grpc.store.sql.rows import (
    NEVER,
    ExampleRow,
    HeadRow,
    HistoryRow,
    PastRow,
    RecordRow,
    RequestRow,
    example_row,
    record_row,
    tombstone,
)
from avocet_grpc.store.sql.transaction import KNOWS_OLD_DIGESTS, Encode
from avocet_grpc.store.sqlite.opening import Begin, make
from avocet_grpc.store.sqlite.session import LOADING_CACHE_KB, QUICK, SqliteSession, connect

log = structlog.get_logger(__name__)

FROM_VERSION = 3
ROWS = 1_000
TOLD_EACH_S = 5.0

RECORD, REMOVE = 0, 3
"""What version 3 called a line that is the record of its id, and one that waits to leave the file."""
APPEND = 1

Progress = Callable[[int, int], None]
"""Told now and then: lines done, and lines in all."""


class _Line(NamedTuple):
    key: int
    file: int
    kind: int
    id: str | None
    sync: int
    revision: int
    raw: bytes
    by_service: int
    approved_revision: int | None
    encoded: bytes | None


LINES = f"""
    SELECT l.key, l.file, l.kind, l.id, l.sync, l.revision, b.raw,
        EXISTS (SELECT 1 FROM history h WHERE h.id = l.id AND h.revision = l.revision AND h.actor <> 'external'),
        e.approved_revision, e.encoded
    FROM lines l JOIN bodies b ON b.key = l.key
    LEFT JOIN examples e ON e.key = l.key AND e.removed_revision = {NEVER}
    WHERE l.key > :after ORDER BY l.key LIMIT {ROWS}"""

REMOVED = f"""
    SELECT l.file, l.id, coalesce(max(e.removed_revision), max(l.revision)),
        EXISTS (
            SELECT 1 FROM lines o WHERE o.file = l.file AND o.id = l.id AND o.kind = {RECORD} AND o.sync <> {REMOVE})
    FROM lines l LEFT JOIN examples e ON e.key = l.key AND e.removed_revision < {NEVER}
    WHERE l.kind = {RECORD} AND l.sync = {REMOVE} GROUP BY l.file, l.id"""
"""Records that wait to leave their file, and whether the id has another record there by now."""


class _Removed(NamedTuple):
    file: int
    id: str
    revision: int
    is_back: int


class Upgrade:
    """One upgrade of the ledger at `path`. `run` leaves it at version 4, or as it was."""

    def __init__(self, path: Path, begin: Begin, encode: Encode, progress: Progress | None = None) -> None:
        self._path, self._begin, self._encode = path, begin, encode
        self._beside = path.with_name(f"{path.name}-upgrading")
        self._progress = progress or _Logged()
        self._counts = CountsToAdd()
        self._next_key = 1
        self._removed: dict[tuple[int, str], _Removed] = {}

    def run(self, old: sqlite3.Connection) -> None:
        """Build the new ledger and put it in the place of the old one, whose connection is closed.

        Raises sqlite3.Error, OSError.
        """
        log.info("upgrading the ledger", from_version=FROM_VERSION, to_version=schema.VERSION)
        self._clear()
        with contextlib.closing(connect(self._beside, QUICK, LOADING_CACHE_KB)) as connection:
            self._build(SqliteSession(old), connection)
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        old.close()
        # SQLite would take an old journal for the new ledger's.
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        sync_directory(self._path.parent)
        put_in_place(self._beside, self._path)
        log.info("the ledger is upgraded", version=schema.VERSION)

    def _clear(self) -> None:
        """What an upgrade that was killed has left."""
        for pattern in (f"{self._beside.name}*", "saved-*.jsonl"):
            for left in self._path.parent.glob(pattern):
                left.unlink()

    def _build(self, old: SqliteSession, connection: sqlite3.Connection) -> None:
        first = old.number("SELECT value FROM meta WHERE name = 'first_revision'")
        make(connection, self._begin.revision(old.number("SELECT value FROM meta WHERE name = 'revision'") + 1))
        new = SqliteSession(connection)
        connection.execute("BEGIN")
        Queries(new).note_beginning(first)
        for name in schema.LATE_INDEXES:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("INSERT INTO meta (name, value) VALUES (?, 1)", (KNOWS_OLD_DIGESTS,))
        head = new.one(HeadRow, "SELECT * FROM head")
        if head is None:
            raise LookupError("the new ledger has no head")
        self._copy_history(old, new)
        self._copy_rest(old, new)
        self._copy_lines(old, new, head.revision)
        self._next_key = max(self._next_key, old.number("SELECT coalesce(max(key), 0) + 1 FROM examples"))
        for statement in schema.LATE_INDEXES.values():
            connection.execute(statement)
        self._counts.write(new)
        new.execute(SET_HEAD, head._replace(next_key=self._next_key, first_revision=first)._asdict())
        connection.execute("COMMIT")

    def _copy_lines(self, old: SqliteSession, new: SqliteSession, revision: int) -> None:
        done, total = 0, old.number("SELECT count(*) FROM lines")
        self._removed = {(one.file, one.id): one for one in old.each(_Removed, REMOVED)}
        saved = _SavedLines(self._path.parent)
        while lines := old.all(_Line, LINES, {"after": self._next_key - 1}):
            self._next_key = lines[-1].key + 1
            rows = _Rows()
            for line in lines:
                if line.kind == RECORD:
                    self._take(line, rows, revision)
                elif line.sync == APPEND:
                    saved.keep(File(line.file), line.raw)
            rows.insert(new)
            new.lines.learn(self._next_key - 1)
            done += len(lines)
            self._progress(done, total)
        saved.close()

    def _take(self, line: _Line, rows: _Rows, revision: int) -> None:
        """A record as version 4 has it. One that a rule has changed for since is exported again from `revision` on."""
        parsed = parse(line.raw)
        if parsed.columns is None:
            log.warning("a line is not a record any more", key=line.key)
            return
        file = File(line.file)
        lives, removed = line.sync != REMOVE, self._removed.get((line.file, parsed.columns.id))
        row = record_row(
            line.key,
            file,
            parsed,
            prompt_digest=prompt_digest(record_in(parsed)),
            revision=line.revision,
            made_by=Source.SERVICE if line.by_service or not lives else Source.EXTERNAL,
            removed_revision=removed.revision if removed else 0,
        )
        if removed is not None and not lives:
            rows.past.append(PastRow(row.id, row.file, content_of(parsed), removed.revision, row.made_by))
            if not removed.is_back:
                rows.tombstones.append(tombstone(row, removed.revision, row.made_by))
            return
        rows.living.append((row, line.raw))
        self._counts.count(row, 1)
        self._take_example(line, row, rows, revision)

    def _take_example(self, line: _Line, row: RecordRow, rows: _Rows, revision: int) -> None:
        if line.approved_revision is not None and line.encoded is not None:
            encoded = self._encode(record_in(parse(line.raw)), line.approved_revision)
            if row.exported and encoded == line.encoded:
                opened = example_row(row, shard_hash(row.id), encoded)
                rows.examples.append(opened._replace(approved_revision=line.approved_revision))
                return
            old = example_row(row, shard_hash(row.id), line.encoded)
            rows.examples.append(old._replace(approved_revision=line.approved_revision, removed_revision=revision))
        if row.exported:
            encoded = self._encode(record_in(parse(line.raw)), revision)
            rows.examples.append(example_row(row, shard_hash(row.id), encoded)._replace(approved_revision=revision))

    def _copy_history(self, old: SqliteSession, new: SqliteSession) -> None:
        query = (
            "SELECT revision, file, id, action, actor, at, NULL AS status_before, status AS status_after,"
            " previous AS change, actor = 'external' AS made_by FROM history ORDER BY revision, rowid"
        )
        for part in _parts(old.each(HistoryRow, query)):
            new.insert("history", [_history(row) for row in part])

    def _copy_rest(self, old: SqliteSession, new: SqliteSession) -> None:
        query = f"SELECT '{ANY_PRINCIPAL}', request_id, digest, answer, at FROM requests"
        for requests in _parts(old.each(RequestRow, query)):
            new.insert("requests", requests)
        query = f"SELECT id, file, digest, 0, {int(Source.SERVICE)} FROM past ORDER BY id, file, digest"
        for past in _parts(old.each(PastRow, query)):
            new.insert("past", past)
        # Those that are open come with their records.
        query = (
            "SELECT key, approved_revision, removed_revision, id, shard_hash, task_type, model_name, source,"
            " benchmark_run_id, failure_category, label, NULL, quality_score, NULL, encoded FROM examples"
            f" WHERE removed_revision < {NEVER} ORDER BY key, approved_revision"
        )
        for examples in _parts(old.each(ExampleRow, query)):
            insert_examples(new, examples)


class _Rows:
    """Rows of one part of the lines."""

    def __init__(self) -> None:
        self.tombstones: list[RecordRow] = []
        self.living: list[tuple[RecordRow, bytes]] = []
        self.examples: list[ExampleRow] = []
        self.past: list[PastRow] = []

    def insert(self, session: SqliteSession) -> None:
        records, lines = stored_once(session, self.living)
        session.insert("records", [*self.tombstones, *records])
        session.insert("bodies", [body_row(session, key, line) for key, line in lines])
        insert_examples(session, self.examples)
        session.insert("past", self.past, "ON CONFLICT (id, file, digest) DO NOTHING")


class _SavedLines:
    """Lines of other programs that are not records and that no file holds: kept beside the ledger, for its operator."""

    def __init__(self, private: Path) -> None:
        self._private = private
        self._kept = 0

    def keep(self, file: File, raw: bytes) -> None:
        with open(self._place(file), "ab") as kept:
            kept.write(raw + b"\n")
        self._kept += 1

    def close(self) -> None:
        if self._kept:
            log.warning("lines of others that are in no file were kept aside", lines=self._kept, at=str(self._private))

    def _place(self, file: File) -> Path:
        return self._private / f"saved-{file.name.lower()}.jsonl"


class _Logged:
    """Progress for the log."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= TOLD_EACH_S:
            self._told = time.monotonic()
            log.info("upgrading the ledger", done=done, of=total)


def _history(row: HistoryRow) -> HistoryRow:
    """An entry in the words of version 4."""
    if row.change is not None and row.change.startswith('{"overruled"'):
        record = json.loads(row.change)["overruled"]
        change = json.dumps({"set": list(record), "was": {}, "now": record})
        return row._replace(action=ChangeAction.OVERRULE.value, actor="", change=change)
    if not row.made_by:
        return row
    action = {"delete": ChangeAction.REMOVE.value, "import": ChangeAction.ADD.value}.get(row.action, row.action)
    return row._replace(action=action, actor="")


def _parts(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while part := list(islice(rows, ROWS)):
        yield part
