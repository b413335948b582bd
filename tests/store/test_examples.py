"""Exports from the copy of the examples are, byte for byte, what the ledger's own tables give."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.errors import RevisionExpired
from avocet_grpc.core.export import open_export
from avocet_grpc.core.model import CandidateFilter, File
from avocet_grpc.edge.exporting import Export
from avocet_grpc.store.examples import ledger as export_ledger
from avocet_grpc.store.examples import store as example_store
from tests.ledger_suite import newest
from tests.store.exporting import Store, longer

ANY: dict[str, Any] = {
    "shard_index": 0,
    "shard_count": 1,
    "split": None,
    "at_revision": 0,
    "since_revision": 0,
    "resume_token": "",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_ledger, "GATHER_S", 0.0)
    monkeypatch.setattr(example_store, "BLOCK_BYTES", 300)
    monkeypatch.setattr(example_store, "ROWS_AT_ONCE", 7)


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(tmp_path, random.Random(request.param))
    yield store
    store.copy.close()


def run_at_random(store: Store) -> None:
    """Changes, pruning and restarts; each export is what the ledger itself gives."""
    chance = store.chance
    for step in range(150):
        store.change()
        if step % 60 == 59:
            store.snapshot()
        if step % 50 == 49:
            store.prune()
        if chance.random() < 0.04:
            store.copy.bring_level()
        if chance.random() < 0.04:
            store.close_copy()
            store.open()
        if chance.random() < 0.3:
            store.check(store.selection())
    for _ in range(20):
        store.check(store.selection())


@pytest.mark.parametrize("store", range(6), indirect=True)
def test_every_export_is_what_the_ledger_itself_gives_through_changes_pruning_and_restarts(store: Store) -> None:
    run_at_random(store)


@pytest.mark.parametrize("seed", range(2))
def test_over_postgresql_every_export_is_what_the_ledger_itself_gives(database: str, tmp_path: Path, seed: int) -> None:
    from avocet_grpc.store.postgres.engine import PostgresLedger

    store = Store(tmp_path, random.Random(seed), PostgresLedger(database, longer, warns=False))
    try:
        run_at_random(store)
    finally:
        store.copy.close()


@pytest.mark.parametrize("store", range(3), indirect=True)
@pytest.mark.parametrize("begins_again", [False, True])
def test_an_export_whose_examples_were_pruned_meanwhile_is_refused_and_never_proved_complete(
    store: Store, begins_again: bool
) -> None:
    store.keep_alone()
    for _ in range(30):
        store.change()
    cursor = store.copy.read(lambda reader: open_export(reader, filter=CandidateFilter(), **ANY))
    export = Export(cursor, batch_size=1)
    assert cursor.total > 3
    assert store.copy.read_batches(lambda reader: export.next_response(reader, 1 << 30))
    for id in sorted(store.approved):
        store.plain.write(lambda tx, id=id: tx.remove(File.APPROVED, id)).result()
    store.revisions = [newest(store.plain)]
    store.prune()
    if begins_again:
        store.copy.read(lambda reader: store.copy.store.forget_dead(reader.examples))
    with pytest.raises(RevisionExpired, match="start the export again"):
        while store.copy.read_batches(lambda reader: export.next_response(reader, 1 << 30)):
            assert not export.ended
