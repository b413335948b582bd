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
from avocet_grpc.store.sql.filters import among, beyond, where_of
from avocet_grpc.store.sql.room import within_room

LIVES = "r.file = 0 AND r.lives = 1"
"""The partial indexes of all candidates have this."""
SORTED_BY = {
    Order.TIMESTAMP: "recorded_at",
    Order.TIMESTAMP_DESC: "recorded_at",
    Order.QUALITY: "quality_score",
    Order.QUALITY_DESC: "quality_score",
    Order.REVIEWED: "reviewed_at",
    Order.REVIEWED_DESC: "reviewed_at",
}
BY_KEY, BY_STATUS, BY_REVIEW = "records_by_key", "records_by_status", "records_by_review"
IN_REVIEW = "queue_by_key"
"""What is in review is in no index by status, and without a time of review in none by that."""
INDEX_OF = {"recorded_at": "records_by_time", "quality_score": "records_by_quality", "reviewed_at": BY_REVIEW}
WHERE_OF = {
    BY_STATUS: f"{LIVES} AND r.queued = 0",
    BY_REVIEW: f"{LIVES} AND (r.queued = 0 OR r.reviewed_at IS NOT NULL)",
    IN_REVIEW: "r.queued = 1",
}
"""What these partial indexes have in place of `LIVES`, and nothing by which a planner would take another one."""
DESCENDING = frozenset({Order.TIMESTAMP_DESC, Order.QUALITY_DESC, Order.REVIEWED_DESC})
KNOWN = tuple(status.value for status in Status)


class _Stretch(NamedTuple):
    """A part of the index `places`: by `column`, if it has one, and then by key. `value` is that of its positions."""

    places: str
    where: str
    column: str = ""
    value: str = "NULL"
    descending: bool = False


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
        values |= {"scan": scan} | ({"value": after.value, "key": after.key} if after else {})
        if order is Order.FILE and statuses and None not in statuses:
            ranges = [self._of_status(status, where, values, after) for status in statuses if status is not None]
            return heapq.merge(*ranges, key=lambda place: place.key)
        matching, more = _status_where(statuses)
        matching, values = matching + where, values | more
        if order is Order.FILE:
            return self._range(_Stretch(BY_KEY, _keys(after, order)), matching, values)
        column, index = f"r.{SORTED_BY[order]}", INDEX_OF[SORTED_BY[order]]
        ranges = []
        if after is None or after.value is not None:
            for known in self._known(column, after, order):
                one = _Stretch(index, known, column, column, order in DESCENDING)
                ranges.append(self._range(one, matching, values))
            after = None
        unknown = f"{column} IS NULL AND {_keys(after, order)}"
        without = _Stretch(index, unknown, column, "NULL", order in DESCENDING)
        if index != BY_REVIEW:
            return itertools.chain(*ranges, self._range(without, matching, values))
        others = self._range(without._replace(where=f"r.queued = 0 AND {unknown}"), matching, values)
        # One in review that has the value is a place to go on from, and no match.
        all_queued = _Stretch(IN_REVIEW, _keys(after, order), "", "NULL", order in DESCENDING)
        queued = self._range(all_queued, f"{matching} AND {column} IS NULL", values)
        both = heapq.merge(others, queued, key=lambda place: place.key, reverse=order in DESCENDING)
        return itertools.chain(*ranges, both)

    def _known(self, column: str, after: Position | None, order: Order) -> Sequence[str]:
        """Return what has a value in the column, after the position, as SQL: one stretch after the other."""
        if after is None:
            return (f"{column} IS NOT NULL",)
        return beyond(self._session.dialect, column, "<" if order in DESCENDING else ">")

    def _of_status(self, status: str, where: str, values: dict[str, Any], after: Position | None) -> Iterator[_Place]:
        """Candidates of one status, in file order."""
        if status == Status.NEEDS_REVIEW:
            return self._range(_Stretch(IN_REVIEW, _keys(after, Order.FILE)), where, values)
        start = "r.status = :s AND r.key > :after"
        if self._session.dialect.finds_places:
            # Every index by key gives the order of `start`, and a planner may take one of all statuses.
            start = "(r.status, r.key) > (:s, :after) AND r.status <= :s"
        values = {**values, "s": status, "after": after.key if after else 0}
        return self._range(_Stretch(BY_STATUS, start, "r.status"), where, values)

    def _range(self, stretch: _Stretch, matching: str, values: dict[str, Any]) -> Iterator[_Place]:
        """Return one stretch of an index, each place with whether it matches."""
        indexed = self._session.dialect.by_index.format(stretch.places)
        down = " DESC" if stretch.descending else ""
        by = f"{stretch.column}{down}, r.key{down}" if stretch.column else f"r.key{down}"
        query = (
            f"SELECT r.key, {stretch.value} AS sorted_by, CASE WHEN 1 = 1{matching} THEN 1 ELSE 0 END AS matches"
            f" FROM records r{indexed} WHERE {WHERE_OF.get(stretch.places, LIVES)} AND {stretch.where}"
            f" ORDER BY {by} LIMIT :scan"
        )
        return self._session.each(_Place, query, values)

    def _items(self, places: Sequence[_Place], order: Order) -> list[QueueItem]:
        bodies = bodies_until_full(self._session, [place.key for place in places])
        return [QueueItem(bodies[place.key], _position(place, order)) for place in places[: len(bodies)]]


def _keys(after: Position | None, order: Order) -> str:
    """Return the keys after the position, as SQL."""
    if after is None:
        return "1 = 1"
    return f"r.key {'<' if order in DESCENDING else '>'} :key"


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
