"""What Stats tells, and how many candidates pass a filter.

Two tables are kept with each commit, so that no count grows with the ledger. `counters` has the sums without a filter,
which stay cheap whatever values records have. `facets` has a row for each combination of the values that a filter
looks at, so that a sum with a filter reads some hundred rows. A combination has a number, which its records have too: a
range of quality is counted by it from an index for what is in review, and from the records for the others. So are
prompt digests, which combinations do not know.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from xxhash import xxh3_128_digest

from avocet_grpc.core.model import CandidateFilter, File, Stats
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among, by_values, is_by_values, quality_range, where_of
from avocet_grpc.store.sql.rows import CounterRow, FacetRow, RecordRow, selected

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

ADD_COUNT = "ON CONFLICT (name, {0}) DO UPDATE SET n = counters.n + excluded.n"
ADD_FACET = "ON CONFLICT (combination) DO UPDATE SET n = facets.n + excluded.n"

ANY_NUMBER = 2**62
BY_QUALITY = "queue_by_quality"
SHARED = "SELECT count(*) - count(DISTINCT facet) FROM facets WHERE queued = 1"
"""0 unless combinations of candidates in review share a number."""
MOST_FACETS = 32
"""Combinations that a page of the queue is merged from."""


class Matching(NamedTuple):
    """The number of a combination that passes a filter, and how many candidates in review have it."""

    facet: int
    n: int


class _Group(NamedTuple):
    """Records that Stats counts alike."""

    file: int
    status: str | None
    model_name: str | None
    task_type: str | None
    source: str | None
    failure_category: str | None
    exported: int
    unexportable: str | None
    n: int


GROUP = ", ".join(_Group._fields[:-1])


def _group(row: FacetRow, n: int) -> _Group:
    """Return the group of `n` records that have this combination."""
    return _Group._make([*(getattr(row, name) for name in _Group._fields[:-1]), n])


class _Reported(NamedTuple):
    malformed: int
    duplicate_ids: int


def counters_of(row: RecordRow | FacetRow) -> Iterator[tuple[str, str]]:
    """Yield the counters that a living record counts in; its facet tells all of them."""
    if row.queued:
        yield QUEUED, ""
    if row.file == File.CANDIDATES and row.benchmark_run_id is not None:
        yield BY_RUN, row.benchmark_run_id
    yield from _told_by_stats(row)


def _told_by_stats(row: RecordRow | FacetRow | _Group) -> Iterator[tuple[str, str]]:
    if row.file == File.APPROVED:
        if row.exported:
            yield EXPORT_READY, ""
        if row.unexportable is not None:
            yield UNEXPORTABLE, row.unexportable
        return
    for name, column in COUNTED.items():
        value = getattr(row, column)
        if value is not None or name not in LEFT_OUT_IF_UNKNOWN:
            yield name, UNKNOWN if value is None else value


def combination_of(row: RecordRow) -> FacetRow:
    """Return the row of `facets` that a living record counts in, with an `n` of 0."""
    return _counted(row).facet


class _Counted(NamedTuple):
    """A row of `facets` with an `n` of 0, and the counters in which its records count."""

    facet: FacetRow
    counters: tuple[tuple[str, str], ...]


def _counted(row: RecordRow) -> _Counted:
    return _combination(
        row.facet,
        row.file,
        row.status,
        row.task_type,
        row.model_name,
        row.source,
        row.benchmark_run_id,
        row.failure_category,
        row.label,
        row.queued,
        row.exported,
        row.unexportable,
    )


@lru_cache(maxsize=4096)
def _combination(*values: Any) -> _Counted:
    facet = FacetRow._make((xxh3_128_digest(json.dumps(values[1:])), *values, 0))
    return _Counted(facet, tuple(counters_of(facet)))


@lru_cache(maxsize=2)
def _add_count(any_length: str) -> str:
    return ADD_COUNT.format(any_length.format("value"))


class CountsToAdd:
    """What a commit adds to both tables."""

    def __init__(self) -> None:
        # By the digest of the combination, which keeps its hash.
        self._counted: dict[bytes, _Counted] = {}
        self._n: dict[bytes, int] = {}

    def count(self, row: RecordRow, by: int) -> None:
        """Count `by` more living records like this one."""
        self._add(_counted(row), by)

    def _add(self, counted: _Counted, by: int) -> None:
        combination = counted.facet.combination
        self._counted[combination] = counted
        self._n[combination] = self._n.get(combination, 0) + by

    def __len__(self) -> int:
        return len(self._n)

    def take(self, later: CountsToAdd) -> None:
        """Those of a work that follows."""
        for combination, n in later._n.items():
            self._add(later._counted[combination], n)

    def write(self, session: Session) -> None:
        """Add them."""
        sums, facets = dict[tuple[str, str], int](), list[FacetRow]()
        for combination, n in self._n.items():
            facet, names = self._counted[combination]
            if n:
                facets.append(FacetRow._make((*facet[:-1], n)))
                for name in names:
                    sums[name] = sums.get(name, 0) + n
        counters = [CounterRow(*name, n) for name, n in sums.items() if n]
        session.insert("counters", counters, _add_count(session.dialect.any_length))
        session.insert("facets", facets, ADD_FACET)
        if fewer := [row.combination for row in facets if row.n < 0]:
            # Labels come and go: without this the table would grow for ever.
            for start in range(0, len(fewer), MOST_FACETS):
                where, values = among("combination", fewer[start : start + MOST_FACETS])
                session.execute(f"DELETE FROM facets WHERE {where} AND n = 0", values)
        self._counted.clear()
        self._n.clear()


class Counts:
    """Reads both tables on one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def counter(self, name: str, value: str = "") -> int:
        """Return how many records count under a value."""
        stored, given = (self._session.dialect.any_length.format(text) for text in ("value", ":value"))
        query = f"SELECT name, value, n FROM counters WHERE (name, {stored}) = (:name, {given})"
        row = self._session.one(CounterRow, query, {"name": name, "value": value})
        return row.n if row else 0

    def known_run_ids(self, run_ids: Collection[str]) -> set[str]:
        """Return those of `run_ids` that some candidate has."""
        return {run_id for run_id in run_ids if self.counter(BY_RUN, run_id)}

    def queue_total(self, filter: CandidateFilter) -> int:
        """Return how many candidates in review pass the filter."""
        if not filter:
            return self.counter(QUEUED)
        if is_by_values(filter):
            where, values = where_of(filter)
            query = f"SELECT coalesce(sum(n), 0) FROM facets WHERE queued = 1{where}"
            return int(self._session.number(query, values))
        facets = self.queue_facets(filter)
        if filter.prompt_digests or (by_values(filter) and (facets is None or self._share_numbers())):
            where, values = where_of(filter, "r.")
            return self._session.number(f"SELECT count(*) FROM {self._records()} WHERE r.queued = 1{where}", values)
        return self._in_range(filter, facets)

    def few_in_range(self, filter: CandidateFilter, facets: Sequence[Matching] | None, most: int) -> bool:
        """Whether at most `most` candidates in review have one of the facets, if given, and a quality in the range."""
        return self._in_range(filter, facets, most + 1) <= most

    def _in_range(self, filter: CandidateFilter, facets: Sequence[Matching] | None, most: int = ANY_NUMBER) -> int:
        """Counts from an index alone, which has no values but their facet."""
        if facets is not None and not facets:
            return 0
        where, values = quality_range(filter, "r.")
        if facets is not None:
            wanted, numbers = among("r.facet", [facet.facet for facet in facets], "facet")
            where, values = f"{where} AND {wanted}", values | numbers
        hint = self._session.dialect.by_index.format(BY_QUALITY)
        query = f"SELECT 1 FROM records r{hint} WHERE r.queued = 1{where} LIMIT :most"
        return self._session.number(f"SELECT count(*) FROM ({query}) found", values | {"most": most})

    def queue_facets(self, filter: CandidateFilter) -> list[Matching] | None:
        """The combinations of candidates in review with the filter's listed values; None if there are too many, or it
        lists none."""
        if not (listed := by_values(filter)):
            return None
        where, values = where_of(listed)
        query = f"SELECT facet, n FROM facets WHERE queued = 1{where} LIMIT {MOST_FACETS + 1}"
        found = self._session.all(Matching, query, values)
        return found if len(found) <= MOST_FACETS else None

    def export_ready(self, filter: CandidateFilter) -> int | None:
        """Return how many examples that pass the filter an export sends now; None if only the examples can tell."""
        if not filter:
            return self.counter(EXPORT_READY)
        if not is_by_values(filter):
            return None
        where, values = where_of(filter)
        query = f"SELECT coalesce(sum(n), 0) FROM facets WHERE file = 1 AND exported = 1{where}"
        return int(self._session.number(query, values))

    def stats(self, filter: CandidateFilter, revision: int) -> Stats:
        """Return the counts of what passes the filter; `revision` is the ledger's."""
        counts = self._counts(filter)
        reported = self._session.one(
            _Reported, "SELECT coalesce(sum(malformed), 0), coalesce(sum(duplicate_ids), 0) FROM reports"
        )
        return Stats(
            total=sum(counts["by_status"].values()),
            by_status=counts["by_status"],
            by_model=counts["by_model"],
            by_task_type=counts["by_task_type"],
            by_source=counts["by_source"],
            by_failure_category=counts["by_failure_category"],
            export_ready=counts[EXPORT_READY].get("", 0),
            malformed=int(reported.malformed) if reported else 0,
            duplicate_ids=int(reported.duplicate_ids) if reported else 0,
            revision=revision,
            unexportable=counts[UNEXPORTABLE],
        )

    def _counts(self, filter: CandidateFilter) -> dict[str, dict[str, int]]:
        """Return the values of each counter that Stats tells, and how many records count under each."""
        names = [*COUNTED, EXPORT_READY, UNEXPORTABLE]
        counts: dict[str, dict[str, int]] = {name: {} for name in names}
        if not filter:
            where, values = among("name", names)
            for row in self._session.all(CounterRow, f"SELECT name, value, n FROM counters WHERE {where}", values):
                if row.n:
                    counts[row.name][row.value] = row.n
            return counts
        # A combination that was counted and taken back stays, with nothing.
        for group in (group for group in self._groups(filter) if group.n):
            for name, value in _told_by_stats(group):
                counts[name][value] = counts[name].get(value, 0) + int(group.n)
        return counts

    def _groups(self, filter: CandidateFilter) -> list[_Group]:
        if is_by_values(filter):
            where, values = where_of(filter)
            query = f"SELECT {GROUP}, sum(n) FROM facets WHERE 1 = 1{where} GROUP BY {GROUP}"
            return self._session.all(_Group, query, values)
        queued = self._queued_in_range(filter)
        where, values = where_of(filter, "r.")
        others = "" if queued is None else " AND r.queued = 0"
        query = f"SELECT {GROUP}, count(*) FROM {self._records()} WHERE r.lives = 1{others}{where} GROUP BY {GROUP}"
        return [*(queued or ()), *self._session.all(_Group, query, values)]

    def _share_numbers(self) -> bool:
        """Return whether a combination may have the number of one that a filter leaves out."""
        return bool(self._session.number(SHARED))

    def _queued_in_range(self, filter: CandidateFilter) -> list[_Group] | None:
        """Return the groups of candidates in review, counted from an index alone; None if it cannot tell them."""
        if filter.prompt_digests or self._share_numbers():
            return None
        where, values = where_of(by_values(filter))
        query = f"SELECT {selected(FacetRow)} FROM facets WHERE queued = 1{where}"
        of_number = {row.facet: row for row in self._session.all(FacetRow, query, values)}
        where, values = quality_range(filter, "r.")
        hint = self._session.dialect.by_index.format(BY_QUALITY)
        query = f"SELECT r.facet, count(*) FROM records r{hint} WHERE r.queued = 1{where} GROUP BY r.facet"
        found = self._session.all(Matching, query, values)
        return [_group(of_number[facet], n) for facet, n in found if facet in of_number]

    def _records(self) -> str:
        # By an index each row would be looked up in the table at random, which costs ten times the whole table.
        return f"records r{self._session.dialect.scan}"
