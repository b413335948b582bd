"""What the mirror reads: the change feed, and records as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain, islice
from typing import NamedTuple

from avocet_grpc.core.model import File, Source
from avocet_grpc.core.ports.mirror import Changed, Cursor, FeedExpired, FileReport, Head
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import beyond
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.rows import ReportRow, selected

CHANGED = (
    "SELECT r.id, r.key, r.revision, r.made_by, b.size, b.raw, r.digest, r.removed_revision"
    " FROM records r LEFT JOIN bodies b ON b.key = r.body"
)
CHANGES = f"{CHANGED} WHERE r.file = :file AND {{0}} ORDER BY r.revision, r.key LIMIT :limit"
# By the index of a file's records all of them would be sorted first.
RECORDS = f"{CHANGED} WHERE r.key > :after_key AND +r.file = :file AND r.lives = 1 ORDER BY r.key LIMIT :limit"
KNOWN = "SELECT revision FROM past WHERE id = :id AND file = :file AND digest = :digest"
IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM records WHERE file = :file)"


MOST_BYTES = 4_000_000
"""Of the lines that one answer holds, about."""


class _Changed(NamedTuple):
    id: str
    key: int
    revision: int
    made_by: int
    size: int | None
    raw: bytes | None
    digest: bytes | None
    removed_revision: int


class _Known(NamedTuple):
    revision: int


class SqlMirrorReader:
    """Implements `core.ports.mirror.MirrorReader` on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def head(self) -> Head:
        head = Queries(self._session).head()
        return Head(head.incarnation, head.revision, head.mirror_epoch)

    def changes(self, file: File, after: Cursor, limit: int) -> list[Changed]:
        if after.revision < Queries(self._session).head().pruned_revision:
            raise FeedExpired("what was removed since then is no longer kept")
        values = {"file": int(file), "value": after.revision, "key": after.key, "limit": limit}
        parts = beyond(self._session.dialect, "r.revision")
        rows = chain.from_iterable(self._session.each(_Changed, CHANGES.format(part), values) for part in parts)
        return self._first(islice(rows, limit))

    def records(self, file: File, after_key: int, limit: int) -> list[Changed]:
        values = {"file": int(file), "after_key": after_key, "limit": limit}
        return self._first(self._session.each(_Changed, RECORDS, values))

    def changed(self, file: File, ids: Collection[str]) -> dict[str, Changed]:
        query = f"{CHANGED} WHERE r.id = :id AND r.file = :file"
        found = [one for id in ids for one in self._changed(query, file=int(file), id=id)]
        return {one.id: one for one in found}

    def knows(self, file: File, pairs: Collection[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        return {(id, digest) for id, digest in pairs if is_known(self._session, file, id, digest)}

    def is_empty(self, file: File) -> bool:
        return bool(self._session.number(IS_EMPTY, {"file": int(file)}))

    def report(self, file: File) -> FileReport | None:
        query = f"SELECT {selected(ReportRow)} FROM reports WHERE file = :file"
        row = self._session.one(ReportRow, query, {"file": int(file)})
        if row is None:
            return None
        return FileReport(
            level=Cursor(row.level_revision, row.level_key),
            malformed=row.malformed,
            duplicate_ids=row.duplicate_ids,
            pending=row.pending,
            behind_since=row.behind_since,
            clean=bool(row.clean),
        )

    def _changed(self, query: str, **values: int | str) -> list[Changed]:
        return [self._as_changed(row) for row in self._session.all(_Changed, query, values)]

    def _first(self, rows: Iterable[_Changed]) -> list[Changed]:
        """Return what is found up to a number of bytes, at least one."""
        found, size = list[Changed](), 0
        for row in rows:
            found.append(changed := self._as_changed(row))
            size += len(changed.raw or b"")
            if size >= MOST_BYTES:
                break
        return found

    def _as_changed(self, row: _Changed) -> Changed:
        raw = None if row.raw is None else self._session.lines.unpacked(row.size or 0, row.raw)
        return Changed(row.id, row.key, row.revision, Source(row.made_by), raw, row.digest, row.removed_revision)


def is_known(session: Session, file: File, id: str, digest: bytes) -> bool:
    """Return whether the content was the record's before, was overruled, or was removed."""
    return session.one(_Known, KNOWN, {"id": id, "file": int(file), "digest": digest}) is not None
