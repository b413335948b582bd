"""A total that is brought up to date by what has changed is the number of examples that the export sends."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.model import CandidateFilter, ExportSelection, Split, SplitBy
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.core.ports.pruning import Floors
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store import export_totals
from avocet_grpc.store.export_cache import ExportCache
from avocet_grpc.store.sql import exports
from avocet_grpc.store.sql.exports import ExportQueries
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, import_candidates, newest, undo

COUNT = 40


@pytest.fixture
def ledger(tmp_path: Path):
    ledger = ExportCache(SqliteLedger(DataDirectory(tmp_path), encode), tmp_path)
    import_candidates(ledger, COUNT)
    yield ledger
    ledger.close()


def selections(chance: random.Random, revision: int, revisions: list[int]) -> list[ExportSelection]:
    """One of each kind."""
    whole = ExportSelection(revision)
    return [
        whole,
        replace(whole, filter=CandidateFilter(model_names=("m1",))),
        replace(whole, filter=CandidateFilter(min_quality_score=0.25)),
        replace(whole, shard_index=chance.randrange(3), shard_count=3),
        replace(whole, split=Split(validation=False, validation_fraction=0.4, seed=1)),
        replace(whole, split=Split(validation=True, validation_fraction=0.4, seed=1, by=SplitBy.PROMPT)),
        replace(whole, since_revision=chance.choice(revisions)),
        replace(whole, since_revision=revisions[0], shard_index=1, shard_count=2),
        replace(whole, unique_prompts=True),
    ]


def sent(ledger: Ledger, selection: ExportSelection) -> list[tuple[bytes, bytes]]:
    found, after = list[tuple[bytes, bytes]](), 0
    while batch := ledger.read(lambda r, a=after: r.export_batch(selection, a, 7, 1 << 30)):
        found.append((batch.ids, batch.encoded))
        after = batch.last_key
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("few", [2, 1_000])
def test_every_total_is_what_the_export_sends_whatever_was_approved_removed_or_pruned_since(
    ledger: ExportCache, monkeypatch: pytest.MonkeyPatch, seed: int, few: int
) -> None:
    monkeypatch.setattr(exports, "MOST_CHANGES", few)
    monkeypatch.setattr(exports, "FEW_NEW", few)
    chance, approved, revisions = random.Random(seed), set[str](), [newest(ledger)]
    for step in range(150):
        id = f"c{chance.randrange(COUNT)}"
        if id in approved:
            undo(ledger, id)
        else:
            correct(ledger, id, "y" * chance.randrange(1, 40))
        approved ^= {id}
        revisions.append(newest(ledger))
        if step % 40 == 39:
            revisions = revisions[-15:]
            prune(ledger, revisions[0])
        if chance.random() < 0.4:
            revision = revisions[-1] if chance.random() < 0.7 else chance.choice(revisions)
            for selection in selections(chance, revision, revisions):
                total = ledger.read(lambda r, s=selection: r.export_total(s, 0))
                parts = sent(ledger, selection)
                assert total == sum(ids.count(b"\n") for ids, _ in parts), selection
                monkeypatch.setattr(exports, "FEW_NEW", -1)
                assert parts == sent(ledger, selection), selection
                monkeypatch.setattr(exports, "FEW_NEW", few)


def prune(ledger: Ledger, before: int) -> None:
    def work(tx: Any) -> None:
        tx.pruning.raise_floors(Floors(0, before, before))
        while tx.pruning.prune(100):
            pass

    ledger.write(work).result()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[ExportSelection]:
    """The selections whose examples were all counted."""
    found: list[ExportSelection] = []
    real = ExportQueries.export_total

    def export_total(self: ExportQueries, selection: ExportSelection, after_key: int) -> int:
        found.append(selection)
        return real(self, selection, after_key)

    monkeypatch.setattr(ExportQueries, "export_total", export_total)
    return found


def total(ledger: ExportCache, **asked: Any) -> int:
    selection = ExportSelection(newest(ledger), **asked)
    return ledger.read(lambda r: r.export_total(selection, 0))


def test_a_selection_that_was_asked_for_is_not_counted_again(
    ledger: ExportCache, counted: list[ExportSelection]
) -> None:
    correct(ledger, "c1")
    shard = {"shard_index": 0, "shard_count": 1, "filter": CandidateFilter(min_quality_score=0.0)}
    before = total(ledger, **shard)
    correct(ledger, "c2")
    correct(ledger, "c4")
    undo(ledger, "c1")
    assert total(ledger, **shard) == before + 1
    assert len(counted) == 1
    total(ledger, **shard | {"filter": CandidateFilter(min_quality_score=0.1)})
    assert len(counted) == 2


def test_the_other_side_of_a_split_is_told_without_a_look_at_the_examples(
    ledger: ExportCache, counted: list[ExportSelection]
) -> None:
    for number in range(20):
        correct(ledger, f"c{number}")
    validation = total(ledger, split=Split(True, 0.4, 3))
    assert total(ledger, split=Split(False, 0.4, 3)) == 20 - validation
    assert [selection.split is not None for selection in counted] == [True, False]
    assert 0 < validation < 20


def test_an_older_revision_takes_nothing_from_the_newest_total(
    ledger: ExportCache, counted: list[ExportSelection]
) -> None:
    old = newest(ledger)
    correct(ledger, "c1")
    assert total(ledger, shard_count=1) == 1
    assert ledger.read(lambda r: r.export_total(ExportSelection(old), 0)) == 0
    assert total(ledger, shard_count=1) == 1
    assert len(counted) == 2


def test_totals_of_many_selections_are_bounded(ledger: ExportCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_totals, "MOST", 3)
    for seed in range(10):
        total(ledger, split=Split(False, 0.5, seed))
    assert len(ledger.totals._kept) == 3
