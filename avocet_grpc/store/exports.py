"""The queries of an export."""

from __future__ import annotations

import sqlite3
from typing import Any

from avocet_grpc.core.export import in_split
from avocet_grpc.core.model import CandidateFilter, ExportBatch, ExportRow, ExportSelection
from avocet_grpc.core.ports.ledger import ExportExtent
from avocet_grpc.store.batches import BatchCache, KeptBatch

JOINED = (
    "SELECT max(key), count(*), CAST(group_concat(id || char(10), '') AS BLOB),"
    " CAST(group_concat(encoded, '') AS BLOB) FROM "
)
"""Joined by the engine: a step for each row would let go of the interpreter's lock and wait for it each time."""
UNCHANGED = (
    "SELECT count(*), coalesce(max(approved_revision), 0), coalesce(min(removed_revision), 0) FROM examples"
    " WHERE key > ? AND key <= ? AND approved_revision <= ? AND removed_revision > ?"
)
"""What is visible of a part of the examples, from an index alone."""
CAREFUL_ROWS = 16
"""Rows read at once where they may be as large as 4 MB each."""


class ExportQueries:
    """The part of `core.ports.Reader` that exports; `batches` has what earlier exports sent."""

    def __init__(self, connection: sqlite3.Connection, batches: BatchCache | None = None) -> None:
        self._connection = connection
        self._batches = batches

    @property
    def _db(self) -> sqlite3.Connection:
        return self._connection

    def revision(self) -> int:
        return self._meta("revision")

    def export_rows(self, selection: ExportSelection, after_key: int, limit: int) -> list[ExportRow]:
        rows: list[ExportRow] = []
        where, values = self._export_where(selection)
        query = f"SELECT key, id, encoded FROM examples WHERE key > ?{where} ORDER BY key, approved_revision LIMIT ?"
        while len(rows) < limit:
            found = self._db.execute(query, (after_key, *values, limit)).fetchall()
            split = selection.split
            rows += [ExportRow(*row) for row in found if split is None or in_split(split, row[1], None, None)]
            if len(found) < limit:
                break
            after_key = found[-1][0]
        return rows[:limit]

    def export_batch(
        self,
        selection: ExportSelection,
        after_key: int,
        limit: int,
        max_bytes: int,
        *,
        about: bool = False,
        up_to_key: int | None = None,
    ) -> ExportBatch | None:
        cache = self._batches
        if up_to_key is not None:
            return self._new_batch(selection, after_key, limit, max_bytes, up_to_key)
        if cache is None or not about or selection != ExportSelection(selection.revision):
            return self._new_batch(selection, after_key, limit, max_bytes)
        return self._batch_about(cache, selection, after_key, limit, max_bytes)

    def export_extent(self, revision: int, after_key: int, last_key: int) -> ExportExtent:
        return ExportExtent(*self._db.execute(UNCHANGED, (after_key, last_key, revision, revision)).fetchone())

    def _batch_about(
        self, cache: BatchCache, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        while True:
            if (batch := self._kept_batch(cache, selection, after_key)) is not None:
                return batch
            up_to = cache.next_start(after_key)
            batch = self._new_batch(selection, after_key, limit, max_bytes, up_to)
            if batch is not None and 2 * batch.count >= limit:
                cache.keep(after_key, batch, selection.revision)
            if batch is not None or up_to is None:
                return batch
            after_key = up_to

    def _kept_batch(self, cache: BatchCache, selection: ExportSelection, after_key: int) -> ExportBatch | None:
        kept = cache.find(after_key)
        if kept is None:
            return None
        if self._is_unchanged(kept, after_key, selection.revision) and (batch := cache.read(kept)) is not None:
            return batch
        if selection.revision >= kept.revision:
            cache.forget(after_key)
        return None

    def _is_unchanged(self, kept: KeptBatch, after_key: int, revision: int) -> bool:
        """True where an export at this revision would send the very same examples.

        At the same revision it would. At another one, where as many are visible, and each of them was then, too.
        """
        if revision == kept.revision:
            return True
        found = self._db.execute(UNCHANGED, (after_key, kept.last_key, revision, revision)).fetchone()
        count, approved, removed = found
        return bool(count == kept.count and approved <= kept.revision < removed)

    def _new_batch(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int, up_to: int | None = None
    ) -> ExportBatch | None:
        if selection.split is not None:
            return self._batch_by_rows(selection, after_key, limit, max_bytes)
        where, values = self._export_where(selection)
        if up_to is not None:
            where, values = f" AND key <= ?{where}", [up_to, *values]
        part = f"(SELECT key, id, encoded FROM examples WHERE key > ?{where} ORDER BY key, approved_revision LIMIT ?)"
        parameters = (after_key, *values, limit)
        size = self._number(f"SELECT coalesce(sum(length(encoded)), 0) FROM {part}", parameters)
        if size > max_bytes:
            return self._batch_by_rows(selection, after_key, limit, max_bytes)
        return ExportBatch(*self._db.execute(JOINED + part, parameters).fetchone()) if size else None

    def export_total(self, selection: ExportSelection, after_key: int) -> int:
        if not after_key and selection == ExportSelection(self.revision()):
            return self._counter("export_ready")
        where, values = self._export_where(selection)
        if (split := selection.split) is None:
            return self._number(f"SELECT count(*) FROM examples WHERE key > ?{where}", (after_key, *values))
        ids = self._db.execute(f"SELECT id FROM examples WHERE key > ?{where}", (after_key, *values))
        return sum(in_split(split, id, None, None) for (id,) in ids)

    def _batch_by_rows(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        rows: list[ExportRow] = []
        size, ended = 0, False
        while not ended and len(rows) < limit:
            found = self.export_rows(
                selection, rows[-1].key if rows else after_key, min(limit - len(rows), CAREFUL_ROWS)
            )
            ended = not found
            for row in found:
                size += len(row.encoded)
                if ended := bool(rows) and size > max_bytes:
                    break
                rows.append(row)
        if not rows:
            return None
        ids = "".join([f"{row.id}\n" for row in rows]).encode()
        return ExportBatch(rows[-1].key, len(rows), ids, b"".join([row.encoded for row in rows]))

    def _meta(self, name: str) -> int:
        return self._number("SELECT value FROM meta WHERE name = ?", (name,))

    def _counter(self, name: str) -> int:
        row = self._db.execute("SELECT n FROM counters WHERE name = ? AND value = ''", (name,)).fetchone()
        return row[0] if row else 0

    def _number(self, query: str, values: tuple[Any, ...]) -> int:
        number: int = self._db.execute(query, values).fetchone()[0]
        return number

    @staticmethod
    def _export_where(selection: ExportSelection) -> tuple[str, list[Any]]:
        where = " AND approved_revision <= ? AND removed_revision > ?"
        values: list[Any] = [selection.revision, selection.revision]
        if selection.since_revision:
            where += " AND approved_revision > ?"
            values.append(selection.since_revision)
        if selection.shard_count > 1:
            where += " AND shard_hash % ? = ?"
            values += [selection.shard_count, selection.shard_index]
        more, more_values = where_of(selection.filter, "")
        return where + more, values + more_values


def where_of(filter: CandidateFilter, prefix: str) -> tuple[str, list[Any]]:
    """The filter as SQL that continues a WHERE, and its values."""
    lists = {
        "task_type": filter.task_types,
        "model_name": filter.model_names,
        "source": filter.sources,
        "benchmark_run_id": filter.benchmark_run_ids,
        "failure_category": filter.failure_categories,
        "label": filter.labels,
    }
    where, values = "", list[Any]()
    for column, wanted in lists.items():
        if wanted:
            where += f" AND {prefix}{column} IN ({', '.join('?' * len(wanted))})"
            values += wanted
    if filter.min_quality_score is not None:
        where += f" AND {prefix}quality_score >= ?"
        values.append(filter.min_quality_score)
    if filter.max_quality_score is not None:
        where += f" AND {prefix}quality_score <= ?"
        values.append(filter.max_quality_score)
    return where, values
