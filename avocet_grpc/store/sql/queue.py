"""Pages of the queue, in each order and with any filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position, QueueItem, is_full, until_full
from avocet_grpc.store.sql.bodies import Body, bodies_until_full
from avocet_grpc.store.sql.counts import BY_QUALITY, Counts
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import beyond, has_range, where_of
from avocet_grpc.store.sql.room import check_room, within_room

SORTED_BY = {
    Order.TIMESTAMP: "recorded_at",
    Order.TIMESTAMP_DESC: "recorded_at",
    Order.QUALITY: "quality_score",
    Order.QUALITY_DESC: "quality_score",
}
DESCENDING = frozenset({Order.TIMESTAMP_DESC, Order.QUALITY_DESC})

INDEX_OF = {"recorded_at": "queue_by_time", "quality_score": BY_QUALITY}
BY_FACET = "queue_by_facet"
FEW = 10_000
"""Candidates that are sorted for a page. Of more, a page in order is read by the order's index, passing over others."""
FEW_KEYS = 200_000
"""The same if the sorting looks at an index alone."""
NEAR = 1_000
"""Candidates of each facet that are read for a page in file order."""


class Also(NamedTuple):
    """What else a page of the queue asks of a record: SQL that continues the WHERE, with `r` for the records, and its
    values. `driven_by`: a table whose few rows name the records, joined with a CROSS JOIN, which keeps this order.
    `refuses`: SQL that counts the rows because of which records are left out."""

    where: str
    values: dict[str, Any]
    driven_by: str = ""
    refuses: str = "SELECT 0"


ANYTHING = Also("", {})


class _Queued(NamedTuple):
    key: int
    size: int
    raw: bytes
    revision: int
    recorded_at: str | None
    quality_score: float | None


class _Key(NamedTuple):
    key: int


class _Place(NamedTuple):
    key: int
    recorded_at: str | None
    quality_score: float | None


class _Records(NamedTuple):
    """The records that a page is taken from. If `keys_first`, the lines are read once the page's keys are sorted.
    `also` is asked of the first in order alone. `counted` is the table as all of them are counted."""

    table: str
    where: str
    values: dict[str, Any]
    counted: str
    keys_first: bool = False
    also: Also = ANYTHING


class QueuePages:
    """The queue of one session."""

    def __init__(self, session: Session, counts: Counts) -> None:
        self._session, self._counts = session, counts

    def page(
        self,
        filter: CandidateFilter,
        order: Order,
        after: Position | None,
        offset: int,
        limit: int,
        also: Also = ANYTHING,
    ) -> list[QueueItem]:
        """Return at most `limit` candidates in review after `after`; records without the order's key come last."""
        filtered, values = where_of(filter, "r.")
        where, values = filtered + also.where, values | also.values
        if also.driven_by:
            driven = f"{also.driven_by}records r{self._session.dialect.scan}"
            return self._ordered(_Records(driven, where, values, driven), order, after, offset, limit)
        facets = self._counts.queue_facets(filter)
        of_facets = ""
        if facets is not None:
            if not facets:
                return []
            values |= {f"facet_{number}": facet.facet for number, facet in enumerate(facets)}
            of_facets = f" AND r.facet IN ({', '.join(f':facet_{number}' for number in range(len(facets)))})"
        if facets is not None and sum(facet.n for facet in facets) <= FEW:
            records = self._few(BY_FACET, of_facets + filtered, values, also)
        elif has_range(filter) and self._counts.few_in_range(filter, facets, FEW_KEYS if order is Order.FILE else FEW):
            records = self._few(BY_QUALITY, of_facets + filtered, values, also)
        elif facets is not None and order is Order.FILE and offset + limit <= NEAR:
            return self._merged(len(facets), where, values | {"key": after.key if after else 0}, offset, limit)
        elif order is not Order.FILE and (facets is not None or (has_range(filter) and not filter.prompt_digests)):
            by_order = self._by(INDEX_OF[SORTED_BY[order]], of_facets + where, values)
            records = by_order._replace(counted=self._scan(), keys_first=False)
        else:
            records = _Records("records r", where, values, self._scan())
        return self._ordered(records, order, after, offset, limit)

    def _by(self, index: str, where: str, values: dict[str, Any]) -> _Records:
        table = f"records r{self._session.dialect.by_index.format(index)}"
        return _Records(table, where, values, table, keys_first=True)

    def _scan(self) -> str:
        # By an index each row would be looked up in the table at random, which costs ten times the whole table.
        return f"records r{self._session.dialect.scan}"

    def _few(self, index: str, where: str, values: dict[str, Any], also: Also) -> _Records:
        """Few records pass: they are found first and sorted then."""
        if not (alone := self._session.dialect.alone):
            return self._by(index, where, values)._replace(also=also)
        found = f"(SELECT r.* FROM records r WHERE r.queued = 1{where}{alone}) r"
        return _Records(found, "", values, found, keys_first=True, also=also)

    def _ordered(
        self, records: _Records, order: Order, after: Position | None, offset: int, limit: int
    ) -> list[QueueItem]:
        if order is Order.FILE:
            key = {"key": after.key if after else 0}
            return self._part(records, "r.key > :key", key, order, offset, limit)
        column, items = f"r.{SORTED_BY[order]}", list[QueueItem]()
        if after is None or after.value is not None:
            starts: Sequence[str] = (f"{column} IS NOT NULL",)
            if after is not None:
                sign = "<" if order in DESCENDING else ">"
                starts = beyond(self._session.dialect, column, sign, is_sorted=records.keys_first)
            place = {"value": after.value, "key": after.key} if after else {}
            for start in starts:
                items += self._part(records, start, place, order, offset, limit - len(items))
                check_room(sum(len(item.candidate.raw) for item in items))
                if len(items) == limit or is_full(items):
                    return items
            skipped = self._with_key(records, column) if offset and not items else offset
            offset, after = offset - skipped, None
        start, place = f"{column} IS NULL", {}
        if after is not None:
            start += f" AND r.key {'<' if order in DESCENDING else '>'} :key"
            place = {"key": after.key}
        items += self._part(records, start, place, order, offset, limit - len(items))
        check_room(sum(len(item.candidate.raw) for item in items))
        return items

    def _part(
        self, records: _Records, start: str, place: dict[str, Any], order: Order, offset: int, limit: int
    ) -> list[QueueItem]:
        down = " DESC" if order in DESCENDING else ""
        by = f"r.{SORTED_BY[order]}{down}, r.key{down}" if order in SORTED_BY else "r.key"
        end = f"{start}{records.where} ORDER BY {by} LIMIT"
        values = records.values | place | {"limit": limit, "offset": offset}
        if records.keys_first:
            query = f"SELECT r.key, r.recorded_at, r.quality_score FROM {records.table} WHERE r.queued = 1 AND {end}"
            if records.also is not ANYTHING:
                # Sorting all and asking each of the first is cheaper than asking all and sorting what passes.
                values |= {"first": offset + limit + self._session.number(records.also.refuses, records.also.values)}
                query = f"SELECT * FROM ({query} :first) r WHERE 1 = 1{records.also.where} ORDER BY {by} LIMIT"
            return self._items(self._session.all(_Place, f"{query} :limit OFFSET :offset", values), order)
        if order is Order.FILE and self._session.dialect.lines_apart:
            query = f"SELECT r.key FROM {records.table} WHERE r.queued = 1 AND {end} :limit OFFSET :offset"
            keys = sorted(row.key for row in self._session.integers(_Key, query, values))
            return self._items([_Place(key, None, None) for key in keys], order)
        query = (
            f"SELECT r.key, b.size, b.raw, r.revision, r.recorded_at, r.quality_score FROM {records.table}"
            f" CROSS JOIN bodies b WHERE b.key = r.body AND r.queued = 1 AND {end} :limit OFFSET :offset"
        )
        return until_full(
            _item(Body(*row[:4]).candidate(self._session), row, order)
            for row in within_room(self._session.each(_Queued, query, values))
        )

    def _merged(self, facets: int, where: str, values: dict[str, Any], offset: int, limit: int) -> list[QueueItem]:
        """Return a page in file order from the first keys of each facet, however far apart they lie."""
        hint = self._session.dialect.by_index.format(BY_FACET)
        parts = " UNION ALL ".join(
            f"SELECT key FROM (SELECT r.key FROM records r{hint} WHERE r.queued = 1 AND r.facet = :facet_{number}"
            f" AND r.key > :key{where} ORDER BY r.key LIMIT :near) part_{number}"
            for number in range(facets)
        )
        query = f"SELECT key, NULL AS recorded_at, NULL AS quality_score FROM ({parts}) parts ORDER BY key"
        bounds = {"near": offset + limit, "limit": limit, "offset": offset}
        found = self._session.all(_Place, f"{query} LIMIT :limit OFFSET :offset", values | bounds)
        return self._items(found, Order.FILE)

    def _items(self, places: Sequence[_Place], order: Order) -> list[QueueItem]:
        bodies = bodies_until_full(self._session, [place.key for place in places])
        return [_item(bodies[place.key], place, order) for place in places[: len(bodies)]]

    def _with_key(self, records: _Records, column: str) -> int:
        """Return how many have the order's key."""
        where = f"{records.where}{records.also.where}"
        query = f"SELECT count(*) FROM {records.counted} WHERE r.queued = 1 AND {column} IS NOT NULL{where}"
        return self._session.number(query, records.values)


def _item(candidate: Candidate, place: _Place | _Queued, order: Order) -> QueueItem:
    value: Any = None if order is Order.FILE else getattr(place, SORTED_BY[order])
    return QueueItem(candidate, Position(value, candidate.key))
