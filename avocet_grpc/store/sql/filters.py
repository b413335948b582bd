"""A CandidateFilter as SQL."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.store.sql.dialect import Dialect


def among(column: str, wanted: Collection[Any], name: str = "wanted") -> tuple[str, dict[str, Any]]:
    """That a column has one of these values, as SQL, and the values."""
    if not wanted:
        return "1 = 0", {}
    values = {f"{name}_{number}": value for number, value in enumerate(wanted)}
    return f"{column} IN ({', '.join(f':{each}' for each in values)})", values


def beyond(dialect: Dialect, column: str, sign: str = ">", *, is_sorted: bool = False) -> tuple[str, ...]:
    """Return what follows `(:value, :key)` in the order of a column and the key, as SQL.

    Each part is a query of its own, in this order, so that a page far behind costs as much as the first one. What
    `is_sorted` for each page, and not read in order from an index, is one query.
    """
    if dialect.finds_places or is_sorted:
        return (f"({column}, r.key) {sign} (:value, :key)",)
    return f"{column} = :value AND r.key {sign} :key", f"{column} {sign} :value"


def by_values(filter: CandidateFilter) -> CandidateFilter:
    """Return the part of the filter that asks for listed values."""
    return replace(filter, prompt_digests=(), min_quality_score=None, max_quality_score=None)


def quality_range(filter: CandidateFilter, prefix: str = "") -> tuple[str, dict[str, Any]]:
    """Return the range of quality of the filter, as SQL that continues a WHERE, and its values."""
    return where_of(
        CandidateFilter(min_quality_score=filter.min_quality_score, max_quality_score=filter.max_quality_score), prefix
    )


def has_range(filter: CandidateFilter) -> bool:
    """Return whether the filter asks for a range of quality."""
    return filter.min_quality_score is not None or filter.max_quality_score is not None


def is_by_values(filter: CandidateFilter) -> bool:
    """Whether the filter asks for listed values alone, which the facets know, and not for prompts or a quality."""
    return filter == by_values(filter)


def where_of(filter: CandidateFilter, prefix: str = "") -> tuple[str, dict[str, Any]]:
    """Return the filter as SQL that continues a WHERE, and its values. `prefix` is the table's alias with its dot."""
    lists = {
        "task_type": filter.task_types,
        "model_name": filter.model_names,
        "source": filter.sources,
        "benchmark_run_id": filter.benchmark_run_ids,
        "failure_category": filter.failure_categories,
        "label": filter.labels,
    }
    where, values = "", dict[str, Any]()
    for column, wanted in lists.items():
        if wanted:
            names = [f"{column}_{number}" for number in range(len(wanted))]
            where += f" AND {prefix}{column} IN ({', '.join(f':{name}' for name in names)})"
            values |= dict(zip(names, wanted, strict=True))
    if filter.prompt_digests:
        names = [f"prompt_digest_{number}" for number in range(len(filter.prompt_digests))]
        where += f" AND {prefix}prompt_digest IN ({', '.join(f':{name}' for name in names)})"
        values |= dict(zip(names, map(bytes.fromhex, filter.prompt_digests), strict=True))
    if filter.min_quality_score is not None:
        where += f" AND {prefix}quality_score >= :min_quality"
        values["min_quality"] = filter.min_quality_score
    if filter.max_quality_score is not None:
        where += f" AND {prefix}quality_score <= :max_quality"
        values["max_quality"] = filter.max_quality_score
    return where, values
