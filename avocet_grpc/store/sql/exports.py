"""What an export reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from avocet_grpc.core.export import are_in_split, in_split
from avocet_grpc.core.model import ExportBatch, ExportSelection, Split, SplitBy
from avocet_grpc.core.ports.ledger import ExportExtent
from avocet_grpc.store.sql.counts import Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among, where_of
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.room import check_room
from avocet_grpc.store.sql.rows import NEVER, selected

KEYS_AT_ONCE = 5_000
"""Examples that a split chooses from in one query."""
KEYS_BEYOND = 16
"""So many more than are probably enough."""
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
    size: int


class _Keyed(NamedTuple):
    id: str
    prompt_digest: bytes | None
    task_id: str | None
    key: int


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
        joined = self._session.joined(part, values, max_bytes)
        if joined is None:
            where, values = _where(selection, after_key)
            return self._fitting(selection, f"{self._examples(selection)} WHERE {where}", values, limit, max_bytes)
        return ExportBatch(*joined) if joined.size else None

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
        total, after_key = 0, values["after_key"]
        while True:
            next_ones = values | {"after_key": after_key, "limit": KEYS_AT_ONCE}
            keys, are_chosen = self._chosen(split, examples, where, next_ones)
            total += sum(are_chosen)
            if len(keys) < KEYS_AT_ONCE:
                return total
            after_key = keys[-1]

    def _chosen(
        self, split: Split, examples: str, where: str, values: dict[str, Any]
    ) -> tuple[list[int], Iterable[bool]]:
        """Return the next keys of the examples, and which of them the split chooses."""
        order = "ORDER BY key, approved_revision LIMIT :limit"
        if split.by is SplitBy.ID:
            part = f"(SELECT key, id FROM {examples} WHERE {where} {order}) part"
            keys, ids = self._session.keys_and_ids(part, values)
            return keys, are_in_split(split, ids)
        query = f"SELECT id, prompt_digest, task_id, key FROM {examples} WHERE {where} {order}"
        found = self._session.all(_Keyed, query, values)
        return [row.key for row in found], [in_split(split, *row[:3]) for row in found]

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
        chosen, left_out = self._sides(selection, split, after_key, limit)
        if not chosen:
            return None
        rows, values = self._only(selection, after_key, chosen, [key for key in left_out if key < chosen[-1]])
        part = f"(SELECT key, id, encoded FROM {rows} ORDER BY key) part"
        joined = self._session.joined(part, values, max_bytes)
        if joined is not None:
            return ExportBatch(*joined)
        return self._fitting(selection, rows, values, len(chosen), max_bytes)

    def _fitting(
        self, selection: ExportSelection, rows: str, values: dict[str, Any], limit: int, max_bytes: int
    ) -> ExportBatch | None:
        """Return the first of these rows that fit, one at least if there is any; the others are not read."""
        query = f"SELECT key, length(encoded) AS size FROM {rows} ORDER BY key, approved_revision LIMIT :limit"
        keys, total = list[int](), 0
        for row in self._session.each(_Sized, query, values | {"limit": limit}):
            if keys and total + row.size > max_bytes:
                break
            keys.append(row.key)
            total += row.size
        if not keys:
            return None
        check_room(total)
        where, values = among("key", keys)
        query = f"SELECT {selected(_Example)} FROM examples WHERE {where} AND {VISIBLE.format('')} ORDER BY key"
        found = self._session.all(_Example, query, values | {"revision": selection.revision})
        ids = "".join([f"{row.id}\n" for row in found]).encode()
        return ExportBatch(keys[-1], len(found), ids, b"".join([row.encoded for row in found]))

    def _only(
        self, selection: ExportSelection, after_key: int, chosen: list[int], left_out: list[int]
    ) -> tuple[str, dict[str, Any]]:
        """Return the rows of the chosen, as what comes behind FROM: by the shorter of the two lists."""
        if len(chosen) < len(left_out) or selection.unique_prompts:
            where, values = among("key", chosen)
            return f"examples WHERE {where} AND {VISIBLE.format('')}", values | {"revision": selection.revision}
        where, values = _where(selection, after_key)
        others, more = among("key", left_out)
        rows = f"{self._examples(selection)} WHERE {where} AND key <= :last_key AND NOT ({others})"
        return rows, values | more | {"last_key": chosen[-1]}

    def _sides(
        self, selection: ExportSelection, split: Split, after_key: int, limit: int
    ) -> tuple[list[int], list[int]]:
        """Return the next keys of the selection that are in the split's part, and those between that are not."""
        chosen, left_out = list[int](), list[int]()
        share = split.validation_fraction if split.validation else 1 - split.validation_fraction
        while len(chosen) < limit:
            where, values = _where(selection, after_key)
            few = min(KEYS_AT_ONCE, int((limit - len(chosen)) / max(share, 0.01)) + KEYS_BEYOND)
            keys, are_chosen = self._chosen(split, self._examples(selection), where, values | {"limit": few})
            for key, is_chosen in zip(keys, are_chosen, strict=True):
                (chosen if is_chosen else left_out).append(key)
            if len(keys) < few:
                break
            after_key = keys[-1]
        return chosen[:limit], left_out


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
