"""The changes of the ledger: one transaction's statements, its revision and its counters."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from avocet_grpc.core.export import is_exportable, shard_hash
from avocet_grpc.core.model import Candidate, File, LineKind, ParsedLine, Record, Status, Sync
from avocet_grpc.core.ports.files import LedgerLine
from avocet_grpc.core.ports.ledger import HistoryEntry, Remembered
from avocet_grpc.core.record import content_digest_before_4, load
from avocet_grpc.store.buffer import Buffer
from avocet_grpc.store.no_claims import NoClaims
from avocet_grpc.store.reader import COUNTED, LEFT_OUT_IF_UNKNOWN, SqlReader
from avocet_grpc.store.schema import NEVER, SELECTED

MOST_WAITING = 1_000
"""Lines that may wait to be written."""

Encode = Callable[[Record, int], bytes]
"""A record and the revision of its approval as the bytes of a training example."""

COLUMNS = f"key, file, kind, id, status, {SELECTED}, recorded_at, digest, sync, position, length, file_digest"
CANDIDATE = (
    f"SELECT {', '.join(f'l.{name}' for name in COLUMNS.split(', '))}, l.revision, b.raw, a.key AS approved_key"
    " FROM lines l JOIN bodies b ON b.key = l.key"
    " LEFT JOIN lines a ON a.file = 1 AND a.id = l.id AND a.kind = 0 AND a.sync <> 3"
    " WHERE l.file = 0 AND l.id = ? AND l.kind = 0 AND l.sync <> 3"
)
DECIDED = frozenset({0, 5})
"""Of what `stored_columns` gives, that which a decision changes: status and failure_category."""
UPDATE_LINE = (
    "UPDATE lines SET status=?, task_type=?, model_name=?, source=?, benchmark_run_id=?, failure_category=?, label=?,"
    " quality_score=?, recorded_at=?, queued=?, revision=?, digest=?, sync=?, position=?, length=?, file_digest=?"
    " WHERE key=?"
)


class SqlTransaction(SqlReader):
    """The changes that decisions, imports and ingests make; the half of `core.ports.Transaction` that needs no file.

    What it writes waits in a buffer for the rows of other works (`earlier` holds those of the works before it in the
    same commit). Whoever reads or writes the database directly, by `_db`, finds all of it written first, behind a
    savepoint; the methods of the decisions only look whether the line they read is among what waits.
    """

    def __init__(
        self, connection: sqlite3.Connection, revision: int, next_key: int, encode: Encode, earlier: Buffer
    ) -> None:
        super().__init__(connection)
        self._earlier = earlier
        self._own = Buffer()
        self._saved = False
        self._seen: dict[int, tuple[sqlite3.Row, Record]] = {}
        self._unapproved: set[str] = set()
        self._last_revision = revision
        self._encode = encode
        self.changed = False
        self.next_key = next_key
        self.counts: Counter[tuple[str, str]] = Counter()

    def keep(self) -> None:
        """The work is done: its rows go in with the others'."""
        if self._saved:
            self._connection.execute("RELEASE work")
        self._earlier.take(self._own)

    def undo(self) -> None:
        """The work was refused: nothing of it stays."""
        if self._saved:
            self._connection.execute("ROLLBACK TO work")
            self._connection.execute("RELEASE work")

    @property
    def _db(self) -> sqlite3.Connection:
        if not self._saved:
            self._earlier.flush(self._connection)
            self._connection.execute("SAVEPOINT work")
            self._saved = True
        self._own.flush(self._connection)
        self._seen.clear()
        self._unapproved.clear()
        return self._connection

    def candidate(self, id: str) -> Candidate | None:
        cursor = self._seeing(id).cursor()
        cursor.row_factory = sqlite3.Row
        row = cursor.execute(CANDIDATE, (id,)).fetchone()
        if row is None:
            return None
        record = load(row["raw"])
        self._seen[row["key"]] = (row, record)
        if row["approved_key"] is None:
            self._unapproved.add(id)
        return Candidate(row["key"], row["raw"], row["revision"], record)

    def line_of(self, file: File, id: str) -> LedgerLine | None:
        if file == File.APPROVED and id in self._unapproved:
            return None
        return SqlReader(self._seeing(id)).line_of(file, id)

    def raw(self, key: int) -> bytes:
        return SqlReader(self._seeing(key)).raw(key)

    def history(self, id: str) -> list[HistoryEntry]:
        return SqlReader(self._seeing(id)).history(id)

    def _seeing(self, line: str | int) -> sqlite3.Connection:
        """The database with all that waits to be written for the lines of this id, or for the line of this key."""
        if line in self._own.lines:
            return self._db
        if line in self._earlier.lines:
            self._earlier.flush(self._connection)
        return self._connection

    @property
    def claims(self) -> NoClaims:
        return NoClaims()

    def new_revision(self) -> int:
        self.changed = True
        return self._last_revision + 1

    def revision(self) -> int:
        return self._last_revision

    def put(self, file: File, line: ParsedLine) -> int:
        if line.columns is None:
            raise ValueError("a malformed line is not a record")
        key = None
        if file == File.CANDIDATES:
            key = next((key for key, (row, _) in self._seen.items() if row["id"] == line.columns.id), None)
        if key is None and (standing := self.line_of(file, line.columns.id)) is not None:
            key = standing.key
        if key is None:
            return self.add(file, line)
        self.replace(key, line)
        return key

    def add(self, file: File, line: ParsedLine) -> int:
        return self._insert(file, line, LineKind.RECORD, Sync.APPEND, None, None)

    def replace(self, key: int, line: ParsedLine) -> None:
        old = self._row(key)
        sync = Sync.APPEND if old["sync"] == Sync.APPEND else Sync.CHANGE
        if old["file"] == File.CANDIDATES and key in self._seen and self._decide(old, line, sync):
            return
        self._remember_past(old)
        self._update(old, line, sync, old["position"], old["length"], old["file_digest"])

    def remove(self, file: File, id: str) -> None:
        rows = self._db.execute("SELECT key FROM lines WHERE file = ? AND id = ? AND sync <> 3", (file, id)).fetchall()
        for (key,) in rows:
            old = self._row(key)
            self._remember_past(old)
            self._withdraw(old)
            self._db.execute("UPDATE lines SET sync = 3, queued = 0 WHERE key = ?", (key,))

    def note(self, entry: HistoryEntry) -> None:
        self._own.add_history(entry)

    def remembered(self, principal: str, request_id: str) -> Remembered | None:
        request_id = _own_space(principal, request_id)
        for buffer in (self._own, self._earlier):
            if request_id in buffer.requests:
                return buffer.requests[request_id][0]
        query = "SELECT digest, answer FROM requests WHERE request_id = ?"
        row = self._connection.execute(query, (request_id,)).fetchone()
        return Remembered(*row) if row else None

    def remember(self, principal: str, request_id: str, remembered: Remembered) -> None:
        self._own.add_request(_own_space(principal, request_id), remembered, int(time.time()))

    def _insert(
        self, file: File, line: ParsedLine, kind: LineKind, sync: Sync, offset: int | None, length: int | None
    ) -> int:
        key, self.next_key = self.next_key, self.next_key + 1
        revision = self.new_revision()
        columns = stored_columns(line)
        queued = is_queued(file, kind, columns[0])
        id = line.columns.id if line.columns else None
        file_digest = line.digest if sync == Sync.CLEAN else None
        place = (queued, revision, line.digest, sync, offset, length, file_digest, 0.0)
        self._own.add_line(id, (key, file, kind, id, *columns, *place), line.raw)
        self._count(file, kind, columns, +1)
        if file == File.APPROVED and kind == LineKind.RECORD and line.record is not None:
            self._open_example(key, line.record, columns)
        if len(self._own) >= MOST_WAITING:
            self._db  # noqa: B018
        return key

    def _decide(self, old: sqlite3.Row, line: ParsedLine, sync: Sync) -> bool:
        """The quick way of `replace` for a line of which a decision's columns alone have changed; False for others."""
        _, record = self._seen[old["key"]]
        was, now = tuple(old)[4:13], stored_columns(line)
        if any(a != b for i, (a, b) in enumerate(zip(was, now, strict=True)) if i not in DECIDED):
            return False
        file, kind = File.CANDIDATES, LineKind(old["kind"])
        self._count(file, kind, was, -1)
        self._count(file, kind, now, +1)
        self._own.add_past(file, old["id"], content_digest_before_4(record))
        queued = is_queued(file, kind, now[0])
        row = (old["key"], file, kind, now[0], now[5], queued, self.new_revision(), line.digest, sync, 0.0)
        self._own.decide_line(old["id"], row, line.raw)
        return True

    def _update(
        self, old: sqlite3.Row, line: ParsedLine, sync: Sync, offset: int | None, length: int | None, there: Any
    ) -> None:
        file, kind, key = File(old["file"]), LineKind(old["kind"]), old["key"]
        self._withdraw(old)
        columns = stored_columns(line)
        queued = is_queued(file, kind, columns[0])
        place = (queued, self.new_revision(), line.digest, sync, offset, length, there)
        self._db.execute(UPDATE_LINE, (*columns, *place, key))
        self._db.execute("UPDATE bodies SET raw = ? WHERE key = ?", (line.raw, key))
        self._count(file, kind, columns, +1)
        if file == File.APPROVED and kind == LineKind.RECORD and line.record is not None:
            self._open_example(key, line.record, columns)

    def _withdraw(self, old: sqlite3.Row) -> None:
        """The line as it was no longer counts, and is no longer exported from this revision on."""
        self._count(File(old["file"]), LineKind(old["kind"]), tuple(old)[4:13], -1)
        if old["file"] == File.APPROVED:
            self._close_example(old["key"])

    def _open_example(self, key: int, record: Record, columns: tuple[Any, ...]) -> None:
        if not is_exportable(record):
            return
        revision, id = self.new_revision(), record["id"]
        encoded = self._encode(record, revision)
        self._own.add_example((key, revision, NEVER, id, shard_hash(id), *columns[1:8], encoded))
        self.counts["export_ready", ""] += 1

    def _close_example(self, key: int) -> None:
        closed = self._db.execute(
            "UPDATE examples SET removed_revision = ? WHERE key = ? AND removed_revision = ?",
            (self.new_revision(), key, NEVER),
        )
        self.counts["export_ready", ""] -= closed.rowcount

    def _remember_past(self, old: sqlite3.Row) -> None:
        if old["kind"] != LineKind.MALFORMED:
            self._db.execute(
                "INSERT INTO past (file, id, digest) VALUES (?,?,?) ON CONFLICT (file, id, digest) DO NOTHING",
                (old["file"], old["id"], content_digest_before_4(load(self.raw(old["key"])))),
            )

    def _row(self, key: int) -> sqlite3.Row:
        if key in self._seen and key not in self._own.lines:
            return self._seen[key][0]
        cursor = self._seeing(key).cursor()
        cursor.row_factory = sqlite3.Row
        row: sqlite3.Row = cursor.execute(f"SELECT {COLUMNS} FROM lines WHERE key = ?", (key,)).fetchone()
        return row

    def _count(self, file: File, kind: LineKind, columns: tuple[Any, ...], by: int) -> None:
        if kind != LineKind.RECORD:
            self.counts["malformed" if kind == LineKind.MALFORMED else "duplicate", ""] += by
            return
        if file != File.CANDIDATES:
            return
        status, task_type, model_name, source, _run, failure_category = columns[:6]
        self.counts["queued", ""] += by * (status == Status.NEEDS_REVIEW)
        values = (status, model_name, task_type, source, failure_category)
        for name, value in zip(COUNTED, values, strict=True):
            if value is not None or name not in LEFT_OUT_IF_UNKNOWN:
                self.counts[name, "unknown" if value is None else value] += by


def stored_columns(line: ParsedLine) -> tuple[Any, ...]:
    """status, the columns of SELECTED, recorded_at."""
    c = line.columns
    if c is None:
        return (None,) * 9
    selected = (c.task_type, c.model_name, c.source, c.benchmark_run_id, c.failure_category, c.label, c.quality_score)
    return (c.status, *selected, c.timestamp)


def is_queued(file: File, kind: LineKind, status: str | None) -> int:
    return int(file == File.CANDIDATES and kind == LineKind.RECORD and status == Status.NEEDS_REVIEW)


def _own_space(principal: str, request_id: str) -> str:
    """The request_id in its principal's name space; ids without a principal are kept as they are."""
    return f"\0{principal}\0{request_id}" if principal or request_id.startswith("\0") else request_id
