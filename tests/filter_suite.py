"""What a filter finds and counts, whatever way the ledger takes to it. A subclass gives `open_ledger`.

The judge is a plain pass over all records by the filter's own definition.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core import review
from avocet_grpc.core.forms import unexportable_reason
from avocet_grpc.core.model import (
    Action,
    Candidate,
    CandidateFilter,
    Decision,
    FailureCategory,
    File,
    Order,
    Position,
    QueueItem,
)
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.edge.convert import candidate_message
from avocet_grpc.store.sql import counts
from avocet_grpc.store.sql import queue as pages
from avocet_grpc.store.sql import rows as stored_rows
from tests.ledger_suite import candidate_line, correct, encode, run_each_work_twice, undo

__all__ = ["CountSuite", "FilterSuite", "encode"]

ORDERS = (Order.FILE, Order.TIMESTAMP, Order.TIMESTAMP_DESC, Order.QUALITY, Order.QUALITY_DESC)
KEYS = {"timestamp": (Order.TIMESTAMP, Order.TIMESTAMP_DESC), "quality_score": (Order.QUALITY, Order.QUALITY_DESC)}
FILTERS = {
    "nothing found": CandidateFilter(task_types=("none",)),
    "one value": CandidateFilter(task_types=("t1",)),
    "values of several keys": CandidateFilter(task_types=("t0", "t2"), sources=("s1", "s0")),
    "a run": CandidateFilter(benchmark_run_ids=("run2",)),
    "a label": CandidateFilter(labels=("a\0b", "two")),
    "a category": CandidateFilter(failure_categories=("wrong_answer",)),
    "no quality above 0.4": CandidateFilter(max_quality_score=0.4),
    "a range of nothing": CandidateFilter(task_types=("none",), min_quality_score=0.1),
    "a range": CandidateFilter(task_types=("t1",), min_quality_score=0.3, max_quality_score=0.8),
}
WAYS = {
    "few are sorted": (10_000, 1_000, 32),
    "facets are merged": (0, 1_000, 32),
    "an order's index": (0, 0, 32),
    "too many facets": (0, 0, 0),
    "few in a range": (40, 0, 0),
}
"""How many candidates count as few, how far a merged page may reach, and how many facets are looked at."""


TOLD = {
    "by_status": "status",
    "by_model": "model_name",
    "by_task_type": "task_type",
    "by_source": "source",
    "by_failure_category": "failure_category",
}
LEFT_OUT = ("source", "failure_category")
"""Keys without which a record is not counted as unknown."""
ALIKE: tuple[dict[str, Any], ...] = (
    {"status": "approved", "corrected_response": "x"},
    {"status": "approved", "corrected_response": " "},
    {"status": "discarded", "corrected_response": "x"},
)
"""What has the same values for a filter, in both files, and is counted apart."""
IDS = range(150)

ODD = (math.nan, math.inf, -math.inf, 10**400, "0.5", True, False, [0.5], -0.0, 2**53 + 1, 10**300)
"""Qualities that a filter or an order may not be able to hold."""


def records(count: int) -> Iterator[dict[str, Any]]:
    """Records that lack keys at random, in runs one behind the other."""
    rng = random.Random(7)
    for n in range(count):
        record: dict[str, Any] = {"id": f"c{n}", "status": "needs_review", "benchmark_run_id": f"run{n * 3 // count}"}
        some = {
            "task_type": f"t{rng.randrange(3)}",
            "model_name": f"m{rng.randrange(2)}",
            "source": f"s{rng.randrange(2)}",
            "label": rng.choice(["a\0b", "two", "three"]),
            "timestamp": f"2026-01-{rng.randrange(1, 6):02}",
            "quality_score": rng.randrange(5) / 4,
        }
        record |= {key: value for key, value in some.items() if rng.random() < 0.8}
        yield record | ({"quality_score": ODD[n // 3 % len(ODD)]} if n % 3 == 0 else {})


class CountSuite:
    """Stats with a filter."""

    @pytest.fixture
    def ledger(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
        run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path)
        lines = [candidate_line(int(record["id"][1:]), **record) for record in records(120)]
        ledger.write(lambda tx: [tx.add(File.CANDIDATES, line) for line in lines]).result()
        for n in range(0, 120, 7):
            correct(ledger, f"c{n}", failure_category=FailureCategory.WRONG_ANSWER if n % 2 else None)
        for n in range(0, 120, 14):
            undo(ledger, f"c{n}")
        ledger.write(lambda tx: tx.remove(File.CANDIDATES, "c5")).result()
        for n in (n for n in range(3, 120, 9) if n % 7):
            decision = Decision(f"c{n}", Action.DISCARD if n % 2 else Action.FLAG, "")
            ledger.write(lambda tx, d=decision: review.submit(tx, d)).result()
        alike = [
            candidate_line(n, **ALIKE[n // 3 % 3], quality_score=n % 10 / 10, task_type="t1") for n in range(120, 150)
        ]
        ledger.write(lambda tx: [tx.put(file, line) for file in File for line in alike]).result()
        yield ledger
        ledger.close()

    def open_ledger(self, tmp_path: Any) -> Ledger:
        raise NotImplementedError

    @pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
    def test_stats_are_what_counting_gives(self, ledger: Ledger, filter: CandidateFilter) -> None:
        stats = ledger.read(lambda r: r.stats(filter))
        found = [record for record in everything(ledger) if passes(filter, record)]
        assert stats.total == len(found)
        for told, key in TOLD.items():
            kept = [record for record in found if key in record or key not in LEFT_OUT]
            assert getattr(stats, told) == Counter(record.get(key, "unknown") for record in kept)
        approved = [record for record in all_approved(ledger) if passes(filter, record)]
        reasons = Counter(unexportable_reason(one) for one in approved if one["status"] == "approved")
        assert stats.export_ready == reasons.pop(None, 0)
        assert stats.unexportable == reasons

    def test_stats_are_the_same_if_combinations_share_a_number(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stored_rows, "facet_of", lambda *values: len(values[0] or ""))
        ledger = request.getfixturevalue("ledger")
        same = CandidateFilter(task_types=("t1",), sources=("s1",), labels=("two",), max_quality_score=1)
        runs = [replace(same, benchmark_run_ids=(f"run{n}",)) for n in range(3)]
        for filter in (*FILTERS.values(), *runs):
            stats = ledger.read(lambda r, f=filter: r.stats(f))
            found = [record for record in everything(ledger) if passes(filter, record)]
            assert sum(stats.by_model.values()) == stats.total == len(found)
            in_review = sum(record["status"] == "needs_review" for record in found)
            assert ledger.read(lambda r, f=filter: r.queue_total(f)) == in_review

    def test_a_combination_that_nothing_has_any_more_is_forgotten(self, ledger: Ledger) -> None:
        before = ledger.read(facets)
        line = candidate_line(500, label="alone")
        ledger.write(lambda tx: tx.add(File.CANDIDATES, line)).result()
        assert ledger.read(facets) == before + 1
        ledger.write(lambda tx: tx.remove(File.CANDIDATES, "c500")).result()
        assert ledger.read(facets) == before


class FilterSuite(CountSuite):
    """Pages and totals with a filter, too."""

    @pytest.mark.parametrize("few, near, most", WAYS.values(), ids=WAYS)
    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("filter", FILTERS.values(), ids=FILTERS)
    def test_each_page_holds_what_passes_in_order(
        self,
        ledger: Ledger,
        monkeypatch: pytest.MonkeyPatch,
        filter: CandidateFilter,
        order: Order,
        few: int,
        near: int,
        most: int,
    ) -> None:
        monkeypatch.setattr(pages, "FEW", few)
        monkeypatch.setattr(pages, "NEAR", near)
        monkeypatch.setattr(counts, "MOST_FACETS", most)
        expected = [key for key, _ in in_order(ledger, filter, order)]
        assert followed(ledger, filter, order) == expected
        for offset in range(0, len(expected) + 8, 7):
            page = ledger.read(lambda r, o=offset: r.queue(filter, order, None, o, 7))
            assert [item.candidate.key for item in page] == expected[offset : offset + 7]
        assert ledger.read(lambda r: r.queue_total(filter)) == len(expected)


def facets(reader: Any) -> int:
    return int(reader._session.number("SELECT count(*) FROM facets"))


def everything(ledger: Ledger) -> list[dict[str, Any]]:
    """All candidates with their keys, as the file says them."""

    def read(reader: Any) -> list[dict[str, Any]]:
        found = (reader.candidate(f"c{n}") for n in IDS)
        return [as_served(c) for c in found if c is not None]

    return ledger.read(read)


def all_approved(ledger: Ledger) -> list[dict[str, Any]]:
    """All approved records."""
    made: Any = ledger
    with made.mirror().view() as view:
        return [as_served(Candidate(one.key, one.raw or b"", 0)) for one in view.records(File.APPROVED, 0, 1_000)]


def as_served(candidate: Candidate) -> dict[str, Any]:
    """The record with its key; it has the quality that reviewers see, or none."""
    served: pb.Candidate = candidate_message(candidate)
    record: dict[str, Any] = json.loads(candidate.raw)
    record.pop("quality_score", None)
    if served.HasField("quality_score"):
        record["quality_score"] = served.quality_score
    return record | {"key": candidate.key}


def passes(filter: CandidateFilter, record: dict[str, Any]) -> bool:
    """The filter by its definition."""
    lists = (
        ("task_type", filter.task_types),
        ("source", filter.sources),
        ("benchmark_run_id", filter.benchmark_run_ids),
        ("label", filter.labels),
        ("failure_category", filter.failure_categories),
    )
    quality = record.get("quality_score")
    return (
        all(not wanted or record.get(key) in wanted for key, wanted in lists)
        and (filter.min_quality_score is None or (quality is not None and quality >= filter.min_quality_score))
        and (filter.max_quality_score is None or (quality is not None and quality <= filter.max_quality_score))
    )


def in_order(ledger: Ledger, filter: CandidateFilter, order: Order) -> list[tuple[int, Any]]:
    """The keys of those in review that pass, with the order's value; those without one last."""
    found = [r for r in everything(ledger) if r["status"] == "needs_review" and passes(filter, r)]
    name = next((name for name, orders in KEYS.items() if order in orders), None)
    if name is None:
        return sorted((record["key"], None) for record in found)
    down = order in (Order.TIMESTAMP_DESC, Order.QUALITY_DESC)
    with_value = sorted(((r[name], r["key"]) for r in found if name in r), reverse=down)
    without = sorted((r["key"] for r in found if name not in r), reverse=down)
    return [(key, value) for value, key in with_value] + [(key, None) for key in without]


def followed(ledger: Ledger, filter: CandidateFilter, order: Order) -> list[int]:
    """The keys of all pages, each after the last item of the one before."""
    keys, after = list[int](), None

    def page(reader: Any, after: Position | None) -> list[QueueItem]:
        return list(reader.queue(filter, order, after, 0, 7))

    while items := ledger.read(lambda r, a=after: page(r, a)):
        keys += [item.candidate.key for item in items]
        after = items[-1].position
    return keys
