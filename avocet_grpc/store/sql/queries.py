"""What the core reads, but for exports."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from avocet_grpc.core.model import (
    Candidate,
    CandidateFilter,
    File,
    Order,
    Position,
    QueueItem,
    Source,
    Stats,
    is_full,
    until_full,
)
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry, Remembered
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among, where_of
from avocet_grpc.store.sql.rows import NEVER, CounterRow, HeadRow, RecordRow, Stored, selected

ANY_PRINCIPAL = "*"
"""Whose request_ids those of ledgers before version 4 are; no token can have this name."""

COUNTED = {
    "by_status": "status",
    "by_model": "model_name",
    "by_task_type": "task_type",
    "by_source": "source",
    "by_failure_category": "failure_category",
}
"""The maps of Stats, and the column of each."""
LEFT_OUT_IF_UNKNOWN = frozenset({"by_source", "by_failure_category"})
UNKNOWN = "unknown"
BY_RUN, QUEUED, EXPORT_READY, UNEXPORTABLE = "by_run", "queued", "export_ready", "unexportable"
"""Further counters: candidates of each benchmark run, candidates in review, examples that an export sends now, and
approved records that it does not send, by the reason."""

SORTED_BY = {
    Order.TIMESTAMP: "recorded_at",
    Order.TIMESTAMP_DESC: "recorded_at",
    Order.QUALITY: "quality_score",
    Order.QUALITY_DESC: "quality_score",
}
DESCENDING = frozenset({Order.TIMESTAMP_DESC, Order.QUALITY_DESC})

AT_ONCE = 32
"""Ids that one query asks for."""

HEAD = f"SELECT {selected(HeadRow)} FROM head"
STORED = f"SELECT {selected(RecordRow, 'r.')}, b.raw FROM records r LEFT JOIN bodies b ON b.key = r.key"
HISTORY = (
    "SELECT number, revision, file, id, action, actor, at, status_before, status_after, change, made_by FROM history"
)
REMEMBERED = (
    "SELECT digest, answer FROM requests WHERE request_id = :request_id AND principal IN (:principal, :any)"
    " ORDER BY principal DESC LIMIT 1"
)


class _Found(NamedTuple):
    key: int
    raw: bytes
    revision: int


class _Queued(NamedTuple):
    key: int
    raw: bytes
    revision: int
    recorded_at: str | None
    quality_score: float | None


class _Counted(NamedTuple):
    value: str
    n: int
    known: int


class Noted(NamedTuple):
    """A row of the history with its number."""

    number: int
    revision: int
    file: int
    id: str
    action: str
    actor: str
    at: str
    status_before: str | None
    status_after: str | None
    change: str | None
    made_by: int


class _Number(NamedTuple):
    value: int


class _Meta(NamedTuple):
    name: str
    value: int


class _Numbered(NamedTuple):
    number: int
    revision: int


class _Answer(NamedTuple):
    digest: bytes
    answer: str


class _Reported(NamedTuple):
    malformed: int
    duplicate_ids: int


class Also(NamedTuple):
    """What else a page of the queue asks of a record: SQL that continues the WHERE, with `r` for the records, and its
    values. `driven_by`: a table whose few rows name the records, joined with a CROSS JOIN, which keeps this order."""

    where: str
    values: dict[str, Any]
    driven_by: str = ""


ANYTHING = Also("", {})


class Queries:
    """The queries of one session: those of `core.ports.ledger.Reader` that are not about exports."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def head(self) -> HeadRow:
        """Where the ledger stands."""
        head = self._session.one(HeadRow, HEAD)
        if head is None:
            raise LookupError("the ledger has no head")
        return head

    def candidate(self, id: str) -> Candidate | None:
        """The record of this id in the candidates file."""
        query = (
            "SELECT r.key, b.raw, r.revision FROM records r JOIN bodies b ON b.key = r.key"
            " WHERE r.id = :id AND r.file = 0"
        )
        row = self._session.one(_Found, query, {"id": id})
        return Candidate(*row) if row else None

    def stored(self, id: str) -> list[Stored]:
        """The records of this id in both files, tombstones too."""
        return [as_stored(row) for row in self._session.all(tuple, f"{STORED} WHERE r.id = :id", {"id": id})]

    def stored_all(self, ids: Collection[str]) -> dict[tuple[int, str], Stored | None]:
        """The records of these ids by file and id; None if there is neither a record nor a tombstone."""
        found: dict[tuple[int, str], Stored | None] = {(int(file), id): None for id in ids for file in File}
        asked = list(ids)
        for start in range(0, len(asked), AT_ONCE):
            where, values = among("r.id", asked[start : start + AT_ONCE])
            for stored in map(as_stored, self._session.all(tuple, f"{STORED} WHERE {where}", values)):
                found[stored.row.file, stored.row.id] = stored
        return found

    def queue(
        self,
        filter: CandidateFilter,
        order: Order,
        after: Position | None,
        offset: int,
        limit: int,
        also: Also = ANYTHING,
    ) -> list[QueueItem]:
        """At most `limit` candidates in review after `after`; records without the order's key come last."""
        table = f"{also.driven_by}records r{self._session.dialect.scan if also.driven_by else ''}"
        where, values = where_of(filter, "r.")
        where, values = where + also.where, values | also.values
        if order is Order.FILE:
            values = values | {"key": after.key if after else 0}
            return self._part(table, f"r.key > :key{where}", values, order, offset, limit)
        column, items = f"r.{SORTED_BY[order]}", list[QueueItem]()
        if after is None or after.value is not None:
            start = f"{column} IS NOT NULL"
            if after is not None:
                beyond = "<" if order in DESCENDING else ">"
                start = f"({column}, r.key) {beyond} (:value, :key)"
            place = {"value": after.value, "key": after.key} if after else {}
            items = self._part(table, f"{start}{where}", values | place, order, offset, limit)
            if len(items) == limit or is_full(items):
                return items
            skipped = self._count(f" AND {column} IS NOT NULL{where}", values) if offset and not items else offset
            offset, after = offset - skipped, None
        if after is not None:
            where, values = f" AND r.key {'<' if order in DESCENDING else '>'} :key{where}", values | {"key": after.key}
        return items + self._part(table, f"{column} IS NULL{where}", values, order, offset, limit - len(items))

    def _part(
        self, table: str, where: str, values: dict[str, Any], order: Order, offset: int, limit: int
    ) -> list[QueueItem]:
        down = " DESC" if order in DESCENDING else ""
        by = f"r.{SORTED_BY[order]}{down}, r.key{down}" if order in SORTED_BY else "r.key"
        query = (
            f"SELECT r.key, b.raw, r.revision, r.recorded_at, r.quality_score FROM {table}"
            f" CROSS JOIN bodies b WHERE b.key = r.key AND r.queued = 1 AND {where}"
            f" ORDER BY {by} LIMIT :limit OFFSET :offset"
        )
        rows = self._session.each(_Queued, query, values | {"limit": limit, "offset": offset})
        return until_full(QueueItem(Candidate(row.key, row.raw, row.revision), _position(row, order)) for row in rows)

    def queue_total(self, filter: CandidateFilter) -> int:
        """How many candidates in review pass the filter."""
        if not filter:
            return self.counter(QUEUED)
        return self._count(*where_of(filter, "r."))

    def _count(self, where: str, values: dict[str, Any]) -> int:
        # By an index each row would be looked up in the table at random, which costs ten times the whole table.
        table = f"records r{self._session.dialect.scan}"
        return self._session.number(f"SELECT count(*) FROM {table} WHERE r.queued = 1{where}", values)

    def stats(self, filter: CandidateFilter) -> Stats:
        """The counts of what passes the filter."""
        counts = self._counted(filter)
        reported = self._session.one(
            _Reported, "SELECT coalesce(sum(malformed), 0), coalesce(sum(duplicate_ids), 0) FROM reports"
        )
        malformed, duplicate_ids = reported or _Reported(0, 0)
        return Stats(
            total=sum(counts["by_status"].values()),
            by_status=counts["by_status"],
            by_model=counts["by_model"],
            by_task_type=counts["by_task_type"],
            by_source=counts["by_source"],
            by_failure_category=counts["by_failure_category"],
            export_ready=self._export_ready(filter),
            malformed=malformed,
            duplicate_ids=duplicate_ids,
            revision=self.head().revision,
            unexportable=self._unexportable(filter),
        )

    def _counted(self, filter: CandidateFilter) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {name: {} for name in COUNTED}
        if not filter:
            names = ", ".join(f"'{name}'" for name in COUNTED)
            query = f"SELECT name, value, n FROM counters WHERE name IN ({names}) AND n <> 0"
            for counter in self._session.each(CounterRow, query):
                counts[counter.name][counter.value] = counter.n
            return counts
        where, values = where_of(filter, "r.")
        for name, column in COUNTED.items():
            query = (
                f"SELECT coalesce(r.{column}, '{UNKNOWN}'), count(*), count(r.{column})"
                f" FROM records r{self._session.dialect.scan}"
                f" WHERE r.file = 0 AND r.lives = 1{where} GROUP BY 1"
            )
            for row in self._session.each(_Counted, query, values):
                if n := row.known if name in LEFT_OUT_IF_UNKNOWN else row.n:
                    counts[name][row.value] = n
        return counts

    def _export_ready(self, filter: CandidateFilter) -> int:
        if not filter:
            return self.counter(EXPORT_READY)
        where, values = where_of(filter)
        query = f"SELECT count(*) FROM examples WHERE removed_revision = :never{where}"
        return self._session.number(query, values | {"never": NEVER})

    def _unexportable(self, filter: CandidateFilter) -> dict[str, int]:
        if not filter:
            query = "SELECT name, value, n FROM counters WHERE name = :name AND n <> 0"
            return {row.value: row.n for row in self._session.each(CounterRow, query, {"name": UNEXPORTABLE})}
        where, values = where_of(filter, "r.")
        query = (
            "SELECT r.unexportable, count(*), count(*)"
            f" FROM records r{self._session.dialect.scan}"
            f" WHERE r.file = 1 AND r.unexportable IS NOT NULL{where} GROUP BY 1"
        )
        return {row.value: row.n for row in self._session.each(_Counted, query, values)}

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        """How many candidates have each of these prompts, at most `most`."""
        query = (
            "SELECT count(*) FROM (SELECT 1 FROM records WHERE file = 0 AND prompt_digest IS NOT NULL"
            " AND prompt_digest = :prompt LIMIT :most) found"
        )
        return {each: self._session.number(query, {"prompt": each, "most": most}) for each in set(digests)}

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        """Those of `run_ids` that some candidate has."""
        return {run_id for run_id in run_ids if self.counter(BY_RUN, run_id)}

    def meta(self, name: str) -> int | None:
        """A number that the ledger keeps of itself; None if it was never set."""
        row = self._session.one(_Number, "SELECT value FROM meta WHERE name = :name", {"name": name})
        return row.value if row else None

    def set_meta(self, name: str, value: int) -> None:
        """Keep a number."""
        self._session.insert("meta", [_Meta(name, value)], "ON CONFLICT (name) DO UPDATE SET value = excluded.value")

    def counter(self, name: str, value: str = "") -> int:
        """How many records count under a value."""
        query = "SELECT name, value, n FROM counters WHERE name = :name AND value = :value"
        row = self._session.one(CounterRow, query, {"name": name, "value": value})
        return row.n if row else 0

    def history(self, id: str) -> list[HistoryEntry]:
        """All changes of this id, newest first."""
        rows = self._session.all(Noted, f"{HISTORY} WHERE id = :id ORDER BY number DESC", {"id": id})
        return [entry_of(row) for row in rows]

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        """Changes of all records, oldest first."""
        number = after.number or self.last_number(after.revision)
        query = f"{HISTORY} WHERE number > :number ORDER BY number LIMIT :limit"
        return [entry_of(row) for row in self._session.all(Noted, query, {"number": number, "limit": limit})]

    def last_number(self, revision: int) -> int:
        """The number of the last entry up to this revision: both grow together, so no index is needed for it."""
        low, high = 0, self._session.number("SELECT coalesce(max(number), 0) FROM history")
        while low < high:
            middle = (low + high + 1) // 2
            query = "SELECT number, revision FROM history WHERE number >= :number ORDER BY number LIMIT 1"
            row = self._session.one(_Numbered, query, {"number": middle})
            if row is not None and row.revision <= revision:
                low = row.number
            else:
                high = middle - 1
        return low

    def remembered(self, principal: str, request_id: str) -> Remembered | None:
        """What a request_id was answered."""
        values = {"principal": principal, "request_id": request_id, "any": ANY_PRINCIPAL}
        row = self._session.one(_Answer, REMEMBERED, values)
        return Remembered(*row) if row else None


def as_stored(row: tuple[Any, ...]) -> Stored:
    """A row of STORED."""
    return Stored(RecordRow._make(row[:-1]), row[-1])


def _position(row: _Queued, order: Order) -> Position:
    if order is Order.FILE:
        return Position(None, row.key)
    return Position(row.recorded_at if SORTED_BY[order] == "recorded_at" else row.quality_score, row.key)


def entry_of(row: Noted) -> HistoryEntry:
    """The entry that a row of the history holds."""
    return HistoryEntry(
        revision=row.revision,
        file=File(row.file),
        id=row.id,
        action=row.action,
        actor=row.actor,
        at=row.at,
        status_after=row.status_after,
        change=row.change,
        status_before=row.status_before,
        source=Source(row.made_by),
        number=row.number,
    )
