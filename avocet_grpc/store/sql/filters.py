"""A CandidateFilter as SQL."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from avocet_grpc.core.model import CandidateFilter


def among(column: str, wanted: Collection[Any], name: str = "wanted") -> tuple[str, dict[str, Any]]:
    """That a column has one of these values, as SQL, and the values."""
    values = {f"{name}_{number}": value for number, value in enumerate(wanted)}
    return f"{column} IN ({', '.join(f':{each}' for each in values)})", values


def is_by_values(filter: CandidateFilter) -> bool:
    """Whether the filter asks for listed values alone, which the facets know, and not for prompts or a quality."""
    return not filter.prompt_digests and filter.min_quality_score is None and filter.max_quality_score is None


def where_of(filter: CandidateFilter, prefix: str = "") -> tuple[str, dict[str, Any]]:
    """The filter as SQL that continues a WHERE, and its values. `prefix` is the table's alias with its dot."""
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
