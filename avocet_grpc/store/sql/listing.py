"""Candidates of any status, in each order, from an index that has them in that order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from avocet_grpc.core.model import Candidate, CandidateFilter, Order, Position, QueueItem, Status
from avocet_grpc.core.ports.listing import Looked
from avocet_grpc.store.sql.bodies import Body, bodies_until_full
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among, where_of
from avocet_grpc.store.sql.room import within_room

LIVES = "r.file = 0 AND r.lives = 1"
"""The partial indexes of all candidates repeat this."""
SORTED_BY = {
    Order.TIMESTAMP: "recorded_at",
    Order.TIMESTAMP_DESC: "recorded_at",
    Order.QUALITY: "quality_score",
    Order.QUALITY_DESC: "quality_score",
    Order.REVIEWED: "reviewed_at",
    Order.REVIEWED_DESC: "reviewed_at",
}
INDEXES = {"recorded_at": "time", "quality_score": "quality", "reviewed_at": "review"}
DESCENDING = frozenset({Order.TIMESTAMP_DESC, Order.QUALITY_DESC, Order.REVIEWED_DESC})
KNOWN = tuple(status.value for status in Status)


class _Place(NamedTuple):
    key: int
    sorted_by: Any
    matches: int


class _Key(NamedTuple):
    key: int


class Listing:
    """Implements `core.ports.listing.Listing` on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def look(
        self,
        statuses: Collection[str | None],
        filter: CandidateFilter,
        order: Order,
        after: Position | None,
        limit: int,
        scan: int,
    ) -> Looked:
        places = itertools.islice(self._places(statuses, filter, order, after, scan), scan)
        found, last, seen = list[_Place](), None, 0
        for last in places:
            seen += 1
            found += [last] if last.matches else []
            if len(found) == limit:
                break
        # The stack of NoRoom would keep its cursors, which must end before what the work did is undone.
        del places
        ended = len(found) < limit and seen < scan
        items = self._items(found, order)
        if len(items) < len(found):
            return Looked(items, items[-1].position, seen)
        return Looked(items, None if ended or last is None else _position(last, order), seen)

    def among(
        self, keys: Collection[int], statuses: Collection[str | None], filter: CandidateFilter
    ) -> dict[int, Candidate]:
        chosen, values = among("r.key", keys)
        where, more = where_of(filter, "r.")
        matching, words = _status_where(statuses)
        table = f"records r{self._session.dialect.scan}"
        query = (
            f"SELECT r.key, b.size, b.raw, r.revision FROM {table} CROSS JOIN bodies b"
            f" WHERE {chosen} AND b.key = r.body AND {LIVES}{matching}{where}"
        )
        rows = within_room(self._session.each(Body, query, values | more | words))
        return {row.key: row.candidate(self._session) for row in rows}

    def changed_after(self, revision: int, limit: int) -> list[int]:
        query = "SELECT key FROM records WHERE file = 0 AND revision > :revision LIMIT :limit"
        return [row.key for row in self._session.each(_Key, query, {"revision": revision, "limit": limit})]

    def passing(self, keys: Collection[int], filter: CandidateFilter) -> set[int]:
        chosen, values = among("r.key", keys)
        where, more = where_of(filter, "r.")
        query = f"SELECT r.key FROM records r{self._session.dialect.scan} WHERE {chosen} AND {LIVES}{where}"
        return {row.key for row in self._session.all(_Key, query, values | more)}

    def _places(
        self,
        statuses: Collection[str | None],
        filter: CandidateFilter,
        order: Order,
        after: Position | None,
        scan: int,
    ) -> Iterator[_Place]:
        """Candidates in order, at most `scan` and more only of others than match; read only as far as is taken."""
        where, values = where_of(filter, "r.")
        values["scan"] = scan
        if order is Order.FILE and statuses and None not in statuses:
            # With `r.status = :s` every index by key gives this order, and a planner may take one of all statuses.
            start, values["after"] = "(r.status, r.key) > (:s, :after) AND r.status <= :s", after.key if after else 0
            ranges = [self._range("status", start, where, {**values, "s": s}, order, after) for s in statuses]
            return heapq.merge(*ranges, key=lambda place: place.key)
        matching, more = _status_where(statuses)
        values |= more
        if order is Order.FILE:
            return self._range("key", f"1 = 1{_beyond(after, order)}", matching + where, values, order, after)
        column, index = f"r.{SORTED_BY[order]}", INDEXES[SORTED_BY[order]]
        ranges = []
        if after is None or after.value is not None:
            start = f"{column} IS NOT NULL{_beyond(after, order)}"
            ranges.append(self._range(index, start, matching + where, values, order, after))
            after = None
        start = f"{column} IS NULL{_beyond(after, order)}"
        return itertools.chain(*ranges, self._range(index, start, matching + where, values, order, after))

    def _range(
        self, index: str, range: str, matching: str, values: dict[str, Any], order: Order, after: Position | None
    ) -> Iterator[_Place]:
        """Return one stretch of an index, each place with whether it matches."""
        indexed = self._session.dialect.by_index.format(f"records_by_{index}")
        place = {"value": after.value, "key": after.key} if after else {}
        down = " DESC" if order in DESCENDING else ""
        column = f"r.{SORTED_BY[order]}" if order in SORTED_BY else "r.key"
        by = f"{column}{down}, r.key{down}" if order in SORTED_BY else {"status": "r.status, r.key"}.get(index, "r.key")
        query = (
            f"SELECT r.key, {column} AS sorted_by, CASE WHEN 1 = 1{matching} THEN 1 ELSE 0 END AS matches"
            f" FROM records r{indexed} WHERE {LIVES} AND {range} ORDER BY {by} LIMIT :scan"
        )
        return self._session.each(_Place, query, values | place)

    def _items(self, places: Sequence[_Place], order: Order) -> list[QueueItem]:
        bodies = bodies_until_full(self._session, [place.key for place in places])
        return [QueueItem(bodies[place.key], _position(place, order)) for place in places[: len(bodies)]]


def _beyond(after: Position | None, order: Order) -> str:
    if after is None:
        return ""
    sign = "<" if order in DESCENDING else ">"
    if after.value is None:
        return f" AND r.key {sign} :key"
    return f" AND (r.{SORTED_BY[order]}, r.key) {sign} (:value, :key)"


def _status_where(statuses: Collection[str | None]) -> tuple[str, dict[str, Any]]:
    """Return the statuses as SQL that continues a WHERE."""
    if not statuses:
        return "", {}
    words, values = among("r.status", [status for status in statuses if status is not None], "status")
    asked = [words] if values else []
    if None in statuses:
        ours = ", ".join(f"'{word}'" for word in KNOWN)
        asked += ["r.status IS NULL", f"r.status NOT IN ({ours})"]
    return f" AND ({' OR '.join(asked)})", values


def _position(place: _Place, order: Order) -> Position:
    return Position(place.sorted_by if order in SORTED_BY else None, place.key)
