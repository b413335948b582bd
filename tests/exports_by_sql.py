"""Exports by statements over the ledger's tables: slow, plain, and the judge of the copy that exports are sent from."""

from __future__ import annotations

from typing import Any, NamedTuple

from avocet_grpc.core.export import in_split
from avocet_grpc.core.model import ExportBatch, ExportSelection
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import where_of

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
    prompt_digest: bytes | None
    task_id: str | None
    encoded: bytes


class ExportsBySql:
    """The part of `core.ports.exports.ExportReader` that exports, on a session of any engine."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def export_batch(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        taken, size = list[_Example](), 0
        for row in self._chosen(selection, after_key)[:limit]:
            if taken and size + len(row.encoded) > max_bytes:
                break
            taken.append(row)
            size += len(row.encoded)
        if not taken:
            return None
        ids = "".join([f"{row.id}\n" for row in taken]).encode()
        return ExportBatch(taken[-1].key, len(taken), ids, b"".join([row.encoded for row in taken]))

    def export_total(self, selection: ExportSelection, after_key: int) -> int:
        return len(self._chosen(selection, after_key))

    def _chosen(self, selection: ExportSelection, after_key: int) -> list[_Example]:
        where, values = _where(selection, after_key)
        query = (
            "SELECT e.key, e.id, e.prompt_digest, e.task_id, e.encoded FROM examples e"
            f" WHERE {where} ORDER BY e.key, e.approved_revision"
        )
        unpacked, split = self._session.lines.unpacked_example, selection.split
        found = [row._replace(encoded=unpacked(row.encoded)) for row in self._session.all(_Example, query, values)]
        if split is None:
            return found
        return [row for row in found if in_split(split, row.id, row.prompt_digest, row.task_id)]


def _where(selection: ExportSelection, after_key: int) -> tuple[str, dict[str, Any]]:
    where = f"e.key > :after_key AND {VISIBLE.format('e.')}"
    values: dict[str, Any] = {"after_key": after_key, "revision": selection.revision}
    if selection.since_revision:
        where += " AND e.approved_revision > :since_revision"
        values["since_revision"] = selection.since_revision
    if selection.shard_count > 1:
        where += " AND e.shard_hash % :shard_count = :shard_index"
        values |= {"shard_count": selection.shard_count, "shard_index": selection.shard_index}
    more, more_values = where_of(selection.filter, "e.")
    if selection.unique_prompts:
        where += NEWEST.format(VISIBLE.format("later."), where_of(selection.filter, "later.")[0])
    return where + more, values | more_values
