"""Batches that an earlier export sent are sent again only if the ledger would give the very same."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from avocet_grpc.core.errors import StorageFull
from avocet_grpc.core.model import ExportSelection
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store import export_cache
from avocet_grpc.store.export_cache import ExportCache
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, import_candidates, newest, undo

COUNT = 60
LIMIT = 5


@pytest.fixture
def cached(tmp_path: Path):
    ledger = ExportCache(SqliteLedger(DataDirectory(tmp_path), encode), tmp_path)
    import_candidates(ledger, COUNT)
    yield ledger
    ledger.close()


def in_batches(ledger: ExportCache, revision: int, after_key: int = 0) -> tuple[bytes, bytes]:
    """The ids and the encodings of a whole export that takes batches as they come."""
    selection, ids, encoded = ExportSelection(revision), b"", b""
    while batch := ledger.read(lambda r, a=after_key: r.export_batch(selection, a, LIMIT, 10_000, about=True)):
        ids, encoded, after_key = ids + batch.ids, encoded + batch.encoded, batch.last_key
    return ids, encoded


def at_once(ledger: ExportCache, revision: int, after_key: int = 0) -> tuple[bytes, bytes]:
    batch = ledger.read(lambda r: r.export_batch(ExportSelection(revision), after_key, 10 * COUNT, 1 << 30))
    return (batch.ids, batch.encoded) if batch else (b"", b"")


def keys(ledger: ExportCache, revision: int) -> list[int]:
    found, after = list[int](), 0
    while batch := ledger.read(lambda r, a=after: r.export_batch(ExportSelection(revision), a, 1, 1 << 30)):
        found.append(after := batch.last_key)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_an_export_is_right_at_each_revision_whatever_was_exported_before(cached: ExportCache, seed: int) -> None:
    chance, approved, revisions = random.Random(seed), set[str](), [newest(cached)]
    for _ in range(120):
        id = f"c{chance.randrange(COUNT)}"
        if id in approved:
            undo(cached, id)
        else:
            correct(cached, id, "y" * chance.randrange(1, 40))
        approved ^= {id}
        revisions.append(newest(cached))
        if chance.random() < 0.4:
            revision = revisions[-1] if chance.random() < 0.6 else chance.choice(revisions)
            after = chance.choice([0, 0, *keys(cached, revision)])
            assert in_batches(cached, revision, after) == at_once(cached, revision, after)
    for revision in revisions[::7]:
        assert in_batches(cached, revision) == at_once(cached, revision)


def test_the_same_export_again_does_not_read_the_examples(cached: ExportCache, tmp_path: Path) -> None:
    for n in range(4 * LIMIT):
        correct(cached, f"c{n}", "z" * 30)
    revision = newest(cached)
    before = in_batches(cached, revision)
    with sqlite3.connect(DataDirectory(tmp_path).ledger) as db:
        db.execute("UPDATE examples SET encoded = x'00'")
    assert at_once(cached, revision) != before
    assert in_batches(cached, revision) == before
    correct(cached, "c50")
    ids, encoded = in_batches(cached, newest(cached))
    assert encoded.startswith(before[1])
    assert ids == before[0] + b"c50\n"


def test_batches_of_a_size_that_the_caller_chose_keep_it(cached: ExportCache) -> None:
    for n in range(4 * LIMIT):
        correct(cached, f"c{n}")
    revision = newest(cached)
    in_batches(cached, revision)
    chosen = cached.read(lambda r: r.export_batch(ExportSelection(revision), 0, 2 * LIMIT, 10_000))
    assert chosen is not None
    assert chosen.count == 2 * LIMIT


def test_a_disk_without_room_keeps_nothing_and_loses_nothing(
    cached: ExportCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_cache, "LEAVE_FREE", 1 << 60)
    for n in range(4 * LIMIT):
        correct(cached, f"c{n}")
    revision = newest(cached)
    assert in_batches(cached, revision) == at_once(cached, revision)
    assert cached.batches.find(0) is None


def test_batches_that_changed_give_their_room_back(cached: ExportCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_cache, "MOST_WASTE", 1)
    for n in range(4 * LIMIT):
        correct(cached, f"c{n}", "z" * 30)
    in_batches(cached, newest(cached))
    kept = cached.batches.find(0)
    assert kept is not None
    undo(cached, "c0")
    revision = newest(cached)
    assert in_batches(cached, revision) == at_once(cached, revision)
    again = cached.batches.find(0)
    assert again is None or again.file is not kept.file


def test_a_full_ledger_takes_the_room(cached: ExportCache) -> None:
    for n in range(2 * LIMIT):
        correct(cached, f"c{n}")
    in_batches(cached, newest(cached))
    assert cached.batches.find(0) is not None

    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    error.sqlite_errorname = "SQLITE_FULL"

    def fail(tx) -> None:
        raise error

    with pytest.raises(StorageFull):
        cached.write(fail).result()
    assert cached.batches.find(0) is None
