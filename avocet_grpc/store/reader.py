"""The queries of the ledger, over one connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    File,
    LineKind,
    Order,
    Position,
    QueueItem,
    Stats,
    Sync,
    is_full,
    until_full,
)
from avocet_grpc.core.ports.files import DisplacedFile, Durable, FileState, LedgerLine, Row
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.store.exports import ExportQueries, where_of
from avocet_grpc.store.schema import NEVER

LINE = "l.key, l.file, l.kind, l.id, l.digest, l.sync, l.position, l.length, l.file_digest, l.synced_at, l.revision"
SORT_COLUMN = {
    Order.TIMESTAMP: ("l.recorded_at", ">", ""),
    Order.TIMESTAMP_DESC: ("l.recorded_at", "<", " DESC"),
    Order.QUALITY: ("l.quality_score", ">", ""),
    Order.QUALITY_DESC: ("l.quality_score", "<", " DESC"),
}
COUNTED = {
    "by_status": "status",
    "by_model": "model_name",
    "by_task_type": "task_type",
    "by_source": "source",
    "by_failure_category": "failure_category",
}
LEFT_OUT_IF_UNKNOWN = frozenset({"by_source", "by_failure_category"})


class SqlReader(ExportQueries):
    """Implements `core.ports.Reader`."""

    def first_revision(self) -> int:
        return self._meta("first_revision")

    def candidate(self, id: str) -> Candidate | None:
        row = self._db.execute(
            "SELECT l.key, b.raw, l.revision FROM lines l JOIN bodies b ON b.key = l.key"
            " WHERE l.file = 0 AND l.id = ? AND l.kind = 0 AND l.sync <> 3",
            (id,),
        ).fetchone()
        return Candidate(*row) if row else None

    def queue(
        self, filter: CandidateFilter, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        where, values = where_of(filter, "l.")
        if order is Order.FILE:
            rows = self._queue_rows(f"l.key > ?{where}", [after.key if after else 0, *values], "l.key", offset, limit)
            return until_full(_item(row, None) for row in rows)
        column, beyond, direction = SORT_COLUMN[order]
        items: list[QueueItem] = []
        if after is None or after.value is not None:
            start, start_values = f"{column} IS NOT NULL", []
            if after is not None:
                start = f"({column} {beyond} ? OR ({column} = ? AND l.key > ?)) AND {column} {beyond}= ?"
                start_values = [after.value, after.value, after.key, after.value]
            rows = self._queue_rows(
                f"{start}{where}", [*start_values, *values], f"{column}{direction}, l.key", offset, limit
            )
            items = until_full(_item(row, row[3 if column == "l.recorded_at" else 4]) for row in rows)
            if len(items) == limit or is_full(items):
                return items
            if offset and not items:
                offset -= self._queue_count(f" AND {column} IS NOT NULL{where}", values)
            else:
                offset = 0
            after = None
        nulls = f"{column} IS NULL AND l.key > ?{where}"
        rows = self._queue_rows(nulls, [after.key if after else 0, *values], "l.key", offset, limit - len(items))
        return items + until_full(_item(row, None) for row in rows)

    def queue_total(self, filter: CandidateFilter) -> int:
        if not filter:
            return self._counter("queued")
        where, values = where_of(filter, "l.")
        return self._queue_count(where, values)

    def stats(self, filter: CandidateFilter) -> Stats:
        counts = self._counted(filter)
        return Stats(
            total=sum(counts["by_status"].values()),
            **counts,
            export_ready=self._export_ready(filter),
            malformed=self._counter("malformed"),
            duplicate_ids=self._counter("duplicate"),
            revision=self.revision(),
        )

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        return {}  # this ledger keeps no prompts

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        query = "SELECT 1 FROM lines WHERE file = 0 AND benchmark_run_id = ? AND kind = 0 LIMIT 1"
        return {run_id for run_id in run_ids if self._db.execute(query, (run_id,)).fetchone()}

    def history(self, id: str) -> list[HistoryEntry]:
        rows = self._db.execute(
            "SELECT revision, file, id, action, actor, at, status, previous FROM history"
            " WHERE id = ? ORDER BY revision DESC",
            (id,),
        )
        return [HistoryEntry(row[0], File(row[1]), *row[2:]) for row in rows]

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        rows = self._db.execute(
            "SELECT rowid, revision, file, id, action, actor, at, status, previous FROM history"
            " WHERE revision >= ? AND rowid > CASE WHEN ? THEN ? ELSE"
            " (SELECT coalesce(max(rowid), 0) FROM history WHERE revision <= ?) END ORDER BY rowid LIMIT ?",
            (after.revision, after.number, after.number, after.revision, limit),
        )
        return [replace(HistoryEntry(row[1], File(row[2]), *row[3:]), number=row[0]) for row in rows]

    def file_state(self, file: File) -> FileState | None:
        row = self._db.execute(
            "SELECT device, inode, size, mtime_ns, ctime_ns, scanned, blank FROM files WHERE file = ?", (file,)
        ).fetchone()
        return FileState(*row) if row else None

    def pending(self, file: File, limit: int) -> list[LedgerLine]:
        query = f"SELECT {LINE} FROM lines l WHERE l.file = ? AND l.sync <> 0 ORDER BY l.key LIMIT ?"
        return [_line(row) for row in self._db.execute(query, (file, limit))]

    def pending_count(self, file: File) -> int:
        return self._number("SELECT count(*) FROM lines WHERE file = ? AND sync <> 0", (file,))

    def lines(self, file: File) -> Iterator[LedgerLine]:
        yield from map(_line, self._db.execute(f"SELECT {LINE} FROM lines l WHERE +l.file = ? ORDER BY l.key", (file,)))

    def rows(self, file: File) -> Iterator[Row]:
        # The + keeps to the primary key: by an index all rows would be sorted first.
        query = "SELECT key, digest, sync, position, length FROM lines WHERE +file = ? ORDER BY key"
        yield from self._db.execute(query, (file,))

    def is_empty(self, file: File) -> bool:
        return self._db.execute("SELECT 1 FROM lines WHERE file = ? LIMIT 1", (file,)).fetchone() is None

    def line(self, key: int) -> LedgerLine | None:
        row = self._db.execute(f"SELECT {LINE} FROM lines l WHERE l.key = ?", (key,)).fetchone()
        return _line(row) if row else None

    def durable(self, file: File) -> Durable:
        row = self._db.execute("SELECT revision, at FROM durable WHERE file = ?", (file,)).fetchone()
        return Durable(*row) if row else Durable()

    def displaced(self, file: File) -> list[DisplacedFile]:
        query = "SELECT name, device, inode, size, mtime_ns, read_to FROM displaced WHERE file = ? ORDER BY name"
        return [DisplacedFile(*row) for row in self._db.execute(query, (file,))]

    def duplicate_order(self, file: File) -> dict[str, list[int]]:
        query = (
            "SELECT id, key FROM lines WHERE file = ? AND sync = 0 AND id IN"
            " (SELECT id FROM lines WHERE file = ? AND kind = 1) ORDER BY id, position"
        )
        order: dict[str, list[int]] = {}
        for id, key in self._db.execute(query, (file, file)):
            order.setdefault(id, []).append(key)
        return order

    def has_malformed(self, file: File, digest: bytes) -> bool:
        query = "SELECT 1 FROM lines WHERE file = ? AND id IS NULL AND kind = 2 AND digest = ? LIMIT 1"
        return self._db.execute(query, (file, digest)).fetchone() is not None

    def has_duplicate(self, file: File, id: str, digest: bytes) -> bool:
        query = "SELECT 1 FROM lines WHERE file = ? AND id = ? AND kind = 1 AND digest = ? LIMIT 1"
        return self._db.execute(query, (file, id, digest)).fetchone() is not None

    def line_of(self, file: File, id: str) -> LedgerLine | None:
        query = f"SELECT {LINE} FROM lines l WHERE l.file = ? AND l.id = ? AND l.kind = 0 AND l.sync <> 3"
        row = self._db.execute(query, (file, id)).fetchone()
        return _line(row) if row else None

    def raw(self, key: int) -> bytes:
        raw: bytes = self._db.execute("SELECT raw FROM bodies WHERE key = ?", (key,)).fetchone()[0]
        return raw

    def was_ours(self, file: File, id: str, digest: bytes) -> bool:
        query = "SELECT 1 FROM past WHERE file = ? AND id = ? AND digest = ?"
        return self._db.execute(query, (file, id, digest)).fetchone() is not None

    def _queue_rows(self, where: str, values: list[Any], order: str, offset: int, limit: int) -> Iterator[Any]:
        return self._db.execute(
            "SELECT l.key, b.raw, l.revision, l.recorded_at, l.quality_score FROM lines l"
            f" JOIN bodies b ON b.key = l.key WHERE l.queued = 1 AND {where} ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )

    def _queue_count(self, where: str, values: list[Any]) -> int:
        return self._number(f"SELECT count(*) FROM lines l WHERE l.queued = 1{where}", tuple(values))

    def _counted(self, filter: CandidateFilter) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {name: {} for name in COUNTED}
        if not filter:
            for name, value, n in self._db.execute("SELECT name, value, n FROM counters WHERE n <> 0"):
                if name in counts:
                    counts[name][value] = n
            return counts
        where, values = where_of(filter, "l.")
        for name, column in COUNTED.items():
            query = (
                f"SELECT coalesce(l.{column}, 'unknown'), count(*), count(l.{column}) FROM lines l"
                f" WHERE l.file = 0 AND l.kind = 0 AND l.sync <> 3{where} GROUP BY 1"
            )
            for value, n, known in self._db.execute(query, values):
                if n := known if name in LEFT_OUT_IF_UNKNOWN else n:
                    counts[name][value] = n
        return counts

    def _export_ready(self, filter: CandidateFilter) -> int:
        if not filter:
            return self._counter("export_ready")
        where, values = where_of(filter, "")
        query = f"SELECT count(*) FROM examples WHERE removed_revision = ?{where}"
        return self._number(query, (NEVER, *values))


def _item(row: Any, value: str | float | None) -> QueueItem:
    return QueueItem(Candidate(row[0], row[1], row[2]), Position(value, row[0]))


def _line(row: Any) -> LedgerLine:
    key, file, kind, id, digest, sync, position, length, file_digest, synced_at, revision = row
    return LedgerLine(
        key, File(file), LineKind(kind), id, digest, Sync(sync), position, length, file_digest, synced_at, revision
    )
