"""Batches that an earlier export sent are sent again only where the ledger would give the very same."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.errors import StorageFull
from avocet_grpc.core.model import ExportSelection, UndoRequest
from avocet_grpc.store import batches
from avocet_grpc.store.files_store import SqliteStore
from tests.store_suite import correct, encode, import_candidates

COUNT = 60
LIMIT = 5


@pytest.fixture
def store(tmp_path: Path):
    store = SqliteStore(tmp_path / "ledger.db", encode)
    import_candidates(store, COUNT)
    yield store
    store.close()


def in_batches(store: SqliteStore, revision: int, after_key: int = 0) -> tuple[bytes, bytes]:
    """The ids and the encodings of a whole export that takes batches as they come."""
    selection, ids, encoded = ExportSelection(revision), b"", b""
    while batch := store.read(lambda r, a=after_key: r.export_batch(selection, a, LIMIT, 10_000, about=True)):
        ids, encoded, after_key = ids + batch.ids, encoded + batch.encoded, batch.last_key
    return ids, encoded


def by_rows(store: SqliteStore, revision: int, after_key: int = 0) -> tuple[bytes, bytes]:
    rows = store.read(lambda r: r.export_rows(ExportSelection(revision), after_key, 10 * COUNT))
    return b"".join(row.id.encode() + b"\n" for row in rows), b"".join(row.encoded for row in rows)


def newest(store: SqliteStore) -> int:
    return store.read(lambda r: r.revision())


def keys(store: SqliteStore, revision: int) -> list[int]:
    return [row.key for row in store.read(lambda r: r.export_rows(ExportSelection(revision), 0, 10 * COUNT))]


@pytest.mark.parametrize("seed", range(3))
def test_an_export_is_right_at_each_revision_whatever_was_exported_before(store: SqliteStore, seed: int) -> None:
    chance, approved, revisions = random.Random(seed), set[str](), [newest(store)]
    for _ in range(120):
        id = f"c{chance.randrange(COUNT)}"
        if id in approved:
            store.write(lambda tx, i=id: review.undo(tx, UndoRequest(i))).result()
        else:
            correct(store, id, "y" * chance.randrange(1, 40))
        approved ^= {id}
        revisions.append(newest(store))
        if chance.random() < 0.4:
            revision = revisions[-1] if chance.random() < 0.6 else chance.choice(revisions)
            after = chance.choice([0, 0, *keys(store, revision)])
            assert in_batches(store, revision, after) == by_rows(store, revision, after)
    for revision in revisions[::7]:
        assert in_batches(store, revision) == by_rows(store, revision)


def test_the_same_export_again_does_not_read_the_examples(store: SqliteStore, tmp_path: Path) -> None:
    for n in range(4 * LIMIT):
        correct(store, f"c{n}", "z" * 30)
    revision = newest(store)
    before = in_batches(store, revision)
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("UPDATE examples SET encoded = x'00'")
    assert by_rows(store, revision) != before
    assert in_batches(store, revision) == before
    correct(store, "c50")
    ids, encoded = in_batches(store, newest(store))
    assert encoded.startswith(before[1])
    assert ids == before[0] + b"c50\n"


def test_batches_of_a_size_that_the_caller_chose_keep_it(store: SqliteStore) -> None:
    for n in range(4 * LIMIT):
        correct(store, f"c{n}")
    revision = newest(store)
    in_batches(store, revision)
    chosen = store.read(lambda r: r.export_batch(ExportSelection(revision), 0, 2 * LIMIT, 10_000))
    assert chosen is not None
    assert chosen.count == 2 * LIMIT


def test_a_disk_without_room_keeps_nothing_and_loses_nothing(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LEAVE_FREE", 1 << 60)
    for n in range(4 * LIMIT):
        correct(store, f"c{n}")
    revision = newest(store)
    assert in_batches(store, revision) == by_rows(store, revision)
    assert store._batches is not None
    assert store._batches.find(0) is None


def test_batches_that_changed_give_their_room_back(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_WASTE", 1)
    for n in range(4 * LIMIT):
        correct(store, f"c{n}", "z" * 30)
    in_batches(store, newest(store))
    cache = store._batches
    assert cache is not None
    kept = cache.find(0)
    assert kept is not None
    store.write(lambda tx: review.undo(tx, UndoRequest("c0"))).result()
    revision = newest(store)
    assert in_batches(store, revision) == by_rows(store, revision)
    again = cache.find(0)
    assert again is None or again.file is not kept.file


def test_a_full_ledger_takes_the_room(store: SqliteStore) -> None:
    for n in range(2 * LIMIT):
        correct(store, f"c{n}")
    in_batches(store, newest(store))
    assert store._batches is not None
    assert store._batches.find(0) is not None

    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    error.sqlite_errorname = "SQLITE_FULL"

    def fail(tx) -> None:
        raise error

    with pytest.raises(StorageFull):
        store.write(fail).result()
    assert store._batches.find(0) is None
