"""What an export reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from avocet_grpc.core.export import in_split
from avocet_grpc.core.model import ExportBatch, ExportSelection, Split
from avocet_grpc.core.ports.ledger import ExportExtent
from avocet_grpc.store.sql.counts import Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among, where_of
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.rows import NEVER, selected

CAREFUL_ROWS = 16
"""Rows read at once if they may be as large as 4 MB each."""
SIZED_AT_ONCE = 400
"""Examples that a split chooses from in one query."""
FEW_NEW = 1_000
"""Examples since a revision that are found by their approval, and sorted for each batch."""
MOST_CHANGES = 5_000
"""Approvals, and removals, by which a total is brought up to date: beyond, counting all is as cheap."""
BY_APPROVAL, BY_REMOVAL = "examples_by_approval", "examples_removed"
APPROVED = "approved_revision > :after_revision AND approved_revision <= :until_revision"
REMOVED = f"removed_revision > :after_revision AND removed_revision <= :until_revision AND removed_revision < {NEVER}"
EXTENT = (
    "SELECT count(*), coalesce(max(approved_revision), 0), coalesce(min(removed_revision), 0) FROM examples"
    " WHERE key > :after_key AND key <= :last_key AND approved_revision <= :revision AND removed_revision > :revision"
)
"""What is seen of a part of the examples, from an index alone."""
VISIBLE = "{0}approved_revision <= :revision AND {0}removed_revision > :revision"
NEWEST = (
    " AND (e.prompt_digest IS NULL OR NOT EXISTS (SELECT 1 FROM examples later"
    " WHERE later.prompt_digest = e.prompt_digest AND {0}{1}"
    " AND (later.approved_revision, later.key) > (e.approved_revision, e.key)))"
)
"""That no example of the same prompt was approved later; `{0}` is what is visible, `{1}` the filter."""


class _Example(NamedTuple):
    key: int
    id: str
    encoded: bytes


class _Sized(NamedTuple):
    key: int
    id: str
    prompt_digest: bytes | None
    task_id: str | None
    size: int


class _Named(NamedTuple):
    id: str
    prompt_digest: bytes | None
    task_id: str | None


class _Extent(NamedTuple):
    number: int
    newest_approval: int
    oldest_removal: int


class ExportQueries:
    """The part of `core.ports.ledger.Reader` that exports."""

    def __init__(self, session: Session, queries: Queries, counts: Counts) -> None:
        self._session, self._queries, self._counts = session, queries, counts

    def export_batch(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int, up_to_key: int | None = None
    ) -> ExportBatch | None:
        """Return the next examples after `after_key` joined, none beyond `up_to_key`."""
        if selection.split is not None:
            return self._batch_of_split(selection, selection.split, after_key, limit, max_bytes)
        where, values = _where(selection, after_key)
        if up_to_key is not None:
            where, values = f"{where} AND key <= :up_to_key", values | {"up_to_key": up_to_key}
        values["limit"] = limit
        part = (
            f"(SELECT key, id, encoded FROM {self._examples(selection)} WHERE {where}"
            " ORDER BY key, approved_revision LIMIT :limit) part"
        )
        size = self._session.number(f"SELECT coalesce(sum(length(encoded)), 0) FROM {part}", values)
        if size > max_bytes:
            return self._batch_by_rows(selection, after_key, limit, max_bytes)
        return self._joined(part, values) if size else None

    def _joined(self, part: str, values: dict[str, Any]) -> ExportBatch:
        return ExportBatch(*self._session.joined(part, values))

    def export_total(self, selection: ExportSelection, after_key: int) -> int:
        """Return how many examples the selection has after `after_key`."""
        now = ExportSelection(self._queries.head().revision, selection.filter)
        if not after_key and selection == now and (ready := self._counts.export_ready(selection.filter)) is not None:
            return ready
        return self._count(selection, self._examples(selection), *_where(selection, after_key))

    def export_growth(self, selection: ExportSelection, revision: int) -> int | None:
        """See the port."""
        if not (
            self._are_few(APPROVED, BY_APPROVAL, revision, selection.revision, MOST_CHANGES)
            and self._are_few(REMOVED, BY_REMOVAL, revision, selection.revision, MOST_CHANGES)
        ):
            return None
        between = {"after_revision": revision, "until_revision": selection.revision}
        where, values = _where(selection, 0)
        new = self._count(selection, self._by(BY_APPROVAL), f"{where} AND {APPROVED}", values | between)
        where, values = _where(replace(selection, revision=revision), 0)
        gone = self._count(selection, self._by(BY_REMOVAL), f"{where} AND {REMOVED}", values | between)
        return new - gone

    def _count(self, selection: ExportSelection, examples: str, where: str, values: dict[str, Any]) -> int:
        if (split := selection.split) is None:
            return self._session.number(f"SELECT count(*) FROM {examples} WHERE {where}", values)
        named = self._session.each(_Named, f"SELECT {selected(_Named)} FROM {examples} WHERE {where}", values)
        return sum(in_split(split, *row) for row in named)

    def _examples(self, selection: ExportSelection) -> str:
        """Return the table, to be read by the revisions of approval if few examples are new, and sorted."""
        since, until = selection.since_revision, selection.revision
        if since and self._are_few(APPROVED, BY_APPROVAL, since, until, FEW_NEW):
            return self._by(BY_APPROVAL)
        return "examples e"

    def _by(self, index: str) -> str:
        return f"examples e{self._session.dialect.by_index.format(index)}"

    def _are_few(self, changed: str, index: str, after: int, until: int, most: int) -> bool:
        query = f"SELECT count(*) FROM (SELECT 1 FROM {self._by(index)} WHERE {changed} LIMIT :most) found"
        values = {"after_revision": after, "until_revision": until, "most": most + 1}
        return self._session.number(query, values) <= most

    def export_extent(self, revision: int, after_key: int, last_key: int) -> ExportExtent:
        """See the port."""
        values = {"after_key": after_key, "last_key": last_key, "revision": revision}
        return ExportExtent(*(self._session.one(_Extent, EXTENT, values) or _Extent(0, 0, 0)))

    def _batch_of_split(
        self, selection: ExportSelection, split: Split, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        """Choose by what the split looks at, and read the encodings of what was chosen alone."""
        chosen = list[int]()
        for row in self._sized(selection, after_key):
            if not in_split(split, row.id, row.prompt_digest, row.task_id):
                continue
            max_bytes -= row.size
            if chosen and max_bytes < 0:
                break
            chosen.append(row.key)
            if len(chosen) == limit:
                break
        if not chosen:
            return None
        where, values = among("key", chosen)
        part = f"(SELECT key, id, encoded FROM examples WHERE {where} AND {VISIBLE.format('')} ORDER BY key) part"
        return self._joined(part, values | {"revision": selection.revision})

    def _sized(self, selection: ExportSelection, after_key: int) -> Iterator[_Sized]:
        """Yield what the selection has but for its split, without the encodings."""
        while True:
            where, values = _where(selection, after_key)
            query = (
                f"SELECT key, id, prompt_digest, task_id, length(encoded) AS size FROM {self._examples(selection)}"
                f" WHERE {where} ORDER BY key, approved_revision LIMIT :limit"
            )
            found = self._session.all(_Sized, query, values | {"limit": SIZED_AT_ONCE})
            yield from found
            if len(found) < SIZED_AT_ONCE:
                return
            after_key = found[-1].key

    def _batch_by_rows(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        rows: list[_Example] = []
        size, ended = 0, False
        while not ended and len(rows) < limit:
            few = min(limit - len(rows), CAREFUL_ROWS)
            found = self._rows(selection, rows[-1].key if rows else after_key, few)
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

    def _rows(self, selection: ExportSelection, after_key: int, limit: int) -> list[_Example]:
        where, values = _where(selection, after_key)
        found_by = f"SELECT {selected(_Example)} FROM {self._examples(selection)} WHERE {where}"
        query = f"{found_by} ORDER BY key, approved_revision LIMIT :limit"
        return self._session.all(_Example, query, values | {"limit": limit})


def _where(selection: ExportSelection, after_key: int) -> tuple[str, dict[str, Any]]:
    where = f"key > :after_key AND {VISIBLE.format('')}"
    values: dict[str, Any] = {"after_key": after_key, "revision": selection.revision}
    if selection.since_revision:
        where += " AND approved_revision > :since_revision"
        values["since_revision"] = selection.since_revision
    if selection.shard_count > 1:
        where += " AND shard_hash % :shard_count = :shard_index"
        values |= {"shard_count": selection.shard_count, "shard_index": selection.shard_index}
    more, more_values = where_of(selection.filter)
    if selection.unique_prompts:
        where += NEWEST.format(VISIBLE.format("later."), where_of(selection.filter, "later.")[0])
    return where + more, values | more_values
