"""Pruning: what is old and nothing keeps any longer is deleted a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from avocet_grpc.core.ports.pruning import Floors, Uptime
from avocet_grpc.core.retention import EXPORT_SECONDS, RESUMABLE_SECONDS
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.history import FLOOR as HISTORY_FLOOR
from avocet_grpc.store.sql.history import History
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sql.rows import NEVER
from avocet_grpc.store.sql.snapshots import RESUMES_FLOOR, Snapshots

EXAMPLES_LOOKED_AT = "examples_looked_at"
EXAMPLES_FLOOR = "examples_floor"
STARTED, STARTED_AT = "machine_start", "machine_started_at"
"""The rows of `meta` that have which start of a machine was seen last, and when that was by the clock of then."""
LEAST_STEP_S = 60
"""What a clock may be adjusted by little by little."""
MOVED = (
    ("requests", "at"),
    ("snapshots", "deleted_at"),
)
"""Times that age, beside the moments."""
MOVE = (
    "UPDATE {0} SET {1} = CASE WHEN {1} + :on > :now THEN :now ELSE {1} + :on END"
    " WHERE {1} > :now OR (:on > 0 AND {1} > 0)"
)

OLD_EXAMPLES = (
    "SELECT number, approved_revision, removed_revision FROM examples"
    f" WHERE removed_revision > :looked_at AND removed_revision <= :floor AND removed_revision < {NEVER}"
    " ORDER BY removed_revision LIMIT :limit"
)
PINNED = (
    "SELECT count(*) FROM snapshots WHERE revision >= :approved AND revision < :removed"
    " AND (deleted_at = 0 OR deleted_at > :since)"
)


class MomentRow(NamedTuple):
    """A row of `moments`: the newest revision at a Unix time in seconds."""

    at: float
    revision: int


class _Old(NamedTuple):
    number: int
    approved_revision: int
    removed_revision: int


class _Revision(NamedTuple):
    revision: int


class Pruning:
    """Implements `core.ports.pruning.Pruning` on one session. `raise_head` changes what the head keeps."""

    def __init__(self, session: Session, queries: Queries, raise_head: Callable[[int, int], None]) -> None:
        self._session, self._queries = session, queries
        self._history, self._snapshots = History(session, queries), Snapshots(session, queries)
        self._raise_head = raise_head

    def now(self) -> float:
        return self._session.now()

    def follow_clock(self, uptime: Uptime) -> None:
        now = self.now()
        started_at, on = int(now - uptime.seconds), 0
        known, known_at = self._queries.meta(STARTED), self._queries.meta(STARTED_AT)
        if known != uptime.start or known_at is None or abs(started_at - known_at) >= LEAST_STEP_S:
            if known == uptime.start and known_at is not None:
                on = max(0, started_at - known_at)
            self._queries.set_meta(STARTED, uptime.start)
            self._queries.set_meta(STARTED_AT, started_at)
        for table, column in MOVED:
            self._session.execute(MOVE.format(table, column), {"on": on, "now": int(now)})
        self._move_moments(on, now)

    def _move_moments(self, on: int, now: float) -> None:
        if not on and not self._session.number("SELECT count(*) FROM moments WHERE at > :now", {"now": now}):
            return
        moved: dict[float, int] = {}
        for moment in self._session.all(MomentRow, "SELECT at, revision FROM moments"):
            at = min(moment.at + on, now)
            moved[at] = max(moment.revision, moved.get(at, 0))
        self._session.execute("DELETE FROM moments")
        self._session.insert("moments", [MomentRow(*each) for each in sorted(moved.items())])

    def mark(self, every: float) -> None:
        newest = self._session.one(MomentRow, "SELECT at, revision FROM moments ORDER BY at DESC LIMIT 1")
        revision = self._queries.head().revision
        if newest is None or (newest.revision != revision and self.now() - newest.at >= every):
            self._session.insert("moments", [MomentRow(self.now(), revision)])

    def revision_before(self, moment: float) -> int | None:
        query = "SELECT revision FROM moments WHERE at <= :moment ORDER BY at DESC LIMIT 1"
        row = self._session.one(_Revision, query, {"moment": moment})
        return row.revision if row else None

    def floors(self) -> Floors:
        first = self._queries.head().first_revision
        examples = self._queries.meta(EXAMPLES_FLOOR) or 0
        return Floors(self._history.floor(), first, self._snapshots.oldest_resumable(), examples)

    def raise_floors(self, floors: Floors) -> None:
        self._queries.set_meta(HISTORY_FLOOR, floors.history)
        self._queries.set_meta(RESUMES_FLOOR, floors.resumes)
        self._queries.set_meta(EXAMPLES_FLOOR, floors.examples)
        level = self._session.number("SELECT coalesce(min(level_revision), 0) FROM reports")
        self._raise_head(floors.exports, min(floors.exports, level))

    def prune(self, limit: int) -> int:
        deleted = 0
        for prune in (self._prune_history, self._prune_examples, self._prune_changes, self._prune_requests, self._rest):
            if deleted >= limit:
                break
            deleted += prune(limit - deleted)
        return deleted

    def _prune_history(self, limit: int) -> int:
        # The newest entry stays, so that no number is given again: cursors of watches have numbers in them.
        where = "revision <= :floor AND number < (SELECT max(number) FROM history) ORDER BY number"
        return self._delete("history", "number", where, limit, floor=self._history.floor())

    def _prune_examples(self, limit: int) -> int:
        """Look at removed examples in order of removal, and go on from there: those that a snapshot keeps stay."""
        looked_at = self._queries.meta(EXAMPLES_LOOKED_AT) or 0
        values = {"looked_at": looked_at, "floor": self.floors().examples, "limit": limit}
        old = self._session.all(_Old, OLD_EXAMPLES, values)
        if not old:
            return 0
        last = old[-1].removed_revision
        if len(old) == limit and old[0].removed_revision != last:
            # Those of the last revision may not all be here.
            old = [row for row in old if row.removed_revision < last]
            last = old[-1].removed_revision
        elif len(old) == limit:
            old = self._session.all(_Old, OLD_EXAMPLES, values | {"floor": last, "limit": NEVER})
        for row in old:
            if not self._is_pinned(row):
                self._session.execute("DELETE FROM examples WHERE number = :number", {"number": row.number})
        self._queries.set_meta(EXAMPLES_LOOKED_AT, last)
        return len(old)

    def _is_pinned(self, row: _Old) -> bool:
        since = self.now() - RESUMABLE_SECONDS - EXPORT_SECONDS
        values = {"approved": row.approved_revision, "removed": row.removed_revision, "since": since}
        return self._session.number(PINNED, values) > 0

    def _prune_changes(self, limit: int) -> int:
        """Delete past versions and tombstones that the mirror has brought to the files."""
        pruned = self._queries.head().pruned_revision
        deleted = self._delete("records", "key", "lives = 0 AND revision <= :floor", limit, floor=pruned)
        return deleted + self._delete("past", "id, file, digest", "revision <= :floor", limit - deleted, floor=pruned)

    def _prune_requests(self, limit: int) -> int:
        return self._delete(
            "requests", "request_id, principal", "at <= :before", limit, before=int(self.now() - RESUMABLE_SECONDS)
        )

    def _rest(self, limit: int) -> int:
        """Delete snapshots that were deleted long ago, and moments that no floor will ask for again."""
        before = self.now() - RESUMABLE_SECONDS - EXPORT_SECONDS
        deleted = self._delete("snapshots", "number", "deleted_at > 0 AND deleted_at <= :before", limit, before=before)
        if deleted:
            # What they kept is to be looked at again.
            self._queries.set_meta(EXAMPLES_LOOKED_AT, 0)
        floors = self.floors()
        floor = min(floors.history, floors.examples)
        return deleted + self._delete("moments", "at", "revision < :floor", limit - deleted, floor=floor)

    def _delete(self, table: str, key: str, where: str, limit: int, **values: Any) -> int:
        chosen = f"SELECT {key} FROM {table} WHERE {where} LIMIT :limit"
        return self._session.execute(f"DELETE FROM {table} WHERE ({key}) IN ({chosen})", {**values, "limit": limit})
