"""The mirror's index: what it keeps, what it forgets, and how it comes back when it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.core.record import digest_of
from avocet_grpc.mirror.fs.signature import Signature
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.index import SAME_BYTES, DisplacedRow, Index, SameBytes
from avocet_grpc.mirror.index_database import IndexDamaged
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Order, Row, effective

C, A = File.CANDIDATES, File.APPROVED
DIGEST = digest_of(b"raw")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mirror.db"


@pytest.fixture
def index(path: Path) -> Index:
    return Index.open(path, check=False)


def row(id: str | None, offset: int | None, kind: Kind = Kind.RECORD, **more: Any) -> Row:
    what: dict[str, Any] = {"content": b"c" * 16, "digest": DIGEST, "length": 3, "order": Order(offset or 0)} | more
    return Row(kind=kind, id=id, offset=offset, **what)


def put(index: Index, *rows: Row) -> list[int]:
    with index.transaction():
        return [
            index.insert(C, one, b"raw" if one.kind is not Kind.RECORD and one.digest == DIGEST else None)
            for one in rows
        ]


def test_the_key_of_a_row_that_was_removed_is_not_used_again(index: Index, path: Path) -> None:
    keys = put(index, row("a", 0), row("b", 10))
    with index.transaction():
        index.delete(keys)
    assert min(put(index, row("c", 0))) > max(keys)
    index.close()
    again = Index.open(path, check=True)
    with again.transaction():
        again.forget_file(C)
    assert min(put(again, row("d", 0))) > max(keys) + 1
    again.close()


def test_an_index_of_another_version_is_made_again(index: Index, path: Path) -> None:
    put(index, row("a", 0))
    index.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    again = Index.open(path, check=True)
    assert again.records(C) == 0
    put(again, row("b", 0))
    assert again.records(C) == 1
    again.close()


def test_what_was_committed_is_there_after_a_restart(index: Index, path: Path) -> None:
    put(index, row("a", 0, written_at=1.5, revision=7, mark=Mark.OWED), row(None, 10, Kind.MALFORMED))
    image = FileImage(Signature(1, 2, 30, 4, 5), 30, 3, 1, Cursor(9, 2), "made", 11)
    with index.transaction():
        index.save_image(C, image)
        index.note_displaced(C, DisplacedRow("old", 1, 2, 3, 4, 5))
        index.note_removals(C, ["gone"], 50.0, 0.0)
    index.close()
    again = Index.open(path, check=True)
    found = again.image(C)
    assert found is not None
    assert (found.signature, found.read_to, found.newlines, found.blank) == (image.signature, 30, 3, 1)
    assert (found.level, found.incarnation, found.last_key) == (Cursor(9, 2), "made", 11)
    record = again.lines(C, ["a"]).record("a")
    assert record is not None and (record.written_at, record.revision, record.mark) == (1.5, 7, Mark.OWED)
    assert again.displaced(C) == [DisplacedRow("old", 1, 2, 3, 4, 5)] and again.removals(C, ["gone"]) == {"gone": 50.0}
    assert again.image(A) is None and list(again.places(A)) == []


def test_what_fails_inside_a_transaction_is_undone(index: Index) -> None:
    with pytest.raises(ZeroDivisionError), index.transaction():
        index.insert(C, row("a", 0))
        raise ZeroDivisionError
    assert list(index.places(C)) == []


def test_rows_come_in_file_order_and_those_that_do_not_stand_last(index: Index) -> None:
    put(index, row("late", None), row("b", 20), row("a", 0))
    assert [place.offset for place in index.places(C)] == [0, 20, None]


@pytest.mark.parametrize("file", [C, A])
def test_a_compaction_keeps_a_duplicate_on_the_side_on_which_it_does_not_count(index: Index, file: File) -> None:
    with index.transaction():
        for one, raw in [
            (row("x", 0, order=Order(1)), None),
            (row("d", 10, Kind.DUPLICATE, order=Order(1)), b"raw"),
            (row("d", 20, order=Order(5)), None),
            (row(None, 30, Kind.MALFORMED, order=Order(5)), b"raw"),
            (row("d", 40, Kind.DUPLICATE, order=Order(9)), b"raw"),
            (row("y", 50, order=Order(3)), None),
        ]:
            index.insert(file, one, raw)
    order = [place.offset for place in index.in_order(file)]
    assert order == ([0, 50, 20, 10, 30, 40] if file is C else [0, 10, 50, 40, 20, 30])


def test_moves_are_applied_to_the_rows_that_moved_alone(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avocet_grpc.mirror.index.MOVES_AT_ONCE", 2)
    keys = put(index, *(row(f"r{n}", 10 * n) for n in range(7)))
    for by in (100, 200):
        moves = index.begin_moves()
        for key in keys[:5]:
            moves.add(key, key + by)
        with index.transaction():
            moves.apply()
    assert sorted(place.offset or 0 for place in index.places(C)) == sorted([key + 200 for key in keys[:5]] + [50, 60])


def test_a_removal_from_before_the_index_was_made_counts_from_then(index: Index) -> None:
    with index.transaction():
        index.note_removals(C, [""], 100.0, 0.0)
        index.note_removals(C, ["later"], 130.0, 120.0 - 60)
    assert index.removals(C, ["older", "later"]) == {"older": 100.0, "later": 130.0}


def test_a_record_that_becomes_a_duplicate_has_its_bytes_and_one_that_is_stale_has_none(index: Index) -> None:
    (key,) = put(index, row("a", 0))
    for kind, raw in ((Kind.DUPLICATE, b"raw"), (Kind.STALE, None)):
        lines = index.lines(C, ["a"])
        lines.change(lines.of("a")[0], raw, kind=kind)
        with index.transaction():
            index.save(lines)
        assert index.raw(key) == raw
    counts = index.counts(C)
    assert (counts.duplicates, counts.stale, index.records(C)) == (0, 1, 0)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "a page"])
def test_a_damaged_index_is_thrown_away_at_the_start(path: Path, damage: str) -> None:
    index = Index.open(path, check=False)
    put(index, *(row(f"r{n}", 10 * n) for n in range(3_000)))
    index.close()
    data = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"no database at all" * 100)
    elif damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.write_bytes(data[:8192] + b"\xff" * 4096 + data[12288:])
    again = Index.open(path, check=True)
    assert list(again.places(C)) == [] and again.image(C) is None
    put(again, row("a", 0))


def test_an_index_that_cannot_be_opened_is_not_thrown_away(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        Index.open(tmp_path / "none" / "mirror.db", check=False)
    assert not isinstance(sqlite3.OperationalError(), IndexDamaged)


def test_the_line_that_counts_is_the_first_candidate_and_the_last_approved_line_that_can_be_exported() -> None:
    rows = [row("a", 10 * n, is_exportable=good) for n, good in enumerate([False, True, True, False])]
    assert effective(C, rows).offset == 0
    assert effective(A, rows).offset == 20
    assert effective(A, [rows[0], rows[3]]).offset == 30


def test_lines_keep_what_was_added_changed_and_removed_apart() -> None:
    lines = Lines(C, [row("a", 0).changed(key=1), row("b", 10).changed(key=2)])
    added = lines.add(row("c", 20), b"raw")
    lines.change(lines.of("a")[0], mark=Mark.OWED)
    lines.remove(lines.of("b")[0])
    lines.remove(added)
    assert [one.key for one in lines.changes()] == [1] and lines.removed == {2} and lines.raw == {}


def test_a_line_never_has_the_bytes_of_another_one(index: Index) -> None:
    put(index, row("a", 0))
    lines = index.lines(C, ["a"])
    lines.change(lines.of("a")[0], b"other", kind=Kind.DUPLICATE)
    with pytest.raises(ValueError, match="bytes of another line"), index.transaction():
        index.save(lines)
    with pytest.raises(ValueError, match="bytes of another line"), index.transaction():
        index.insert(C, row("b", 10, Kind.DUPLICATE), b"other")
    assert [one.kind for one in index.lines(C, ["a", "b"]).of("a")] == [Kind.RECORD]


def test_lines_are_found_that_stand_with_the_bytes_of_a_record_that_does_not(index: Index) -> None:
    _, _, _, _, gone, stale, second = put(
        index,
        row("a", 0, digest=b"1" * 16),
        row("a", 10, Kind.STALE, digest=b"1" * 16),
        row("b", None, digest=b"2" * 16),
        row("b", 20, Kind.DUPLICATE, digest=b"3" * 16),
        row("c", None, digest=b"4" * 16, mark=Mark.MISSING),
        row("c", 30, Kind.STALE, digest=b"4" * 16),
        row("c", 40, Kind.DUPLICATE, digest=b"4" * 16),
    )
    put(index, row("c", None, Kind.DUPLICATE, digest=b"4" * 16), row("d", 50, digest=b"4" * 16))
    assert index.same_bytes(C) == [SameBytes(gone, stale, 30), SameBytes(gone, second, 40)]
    assert index.same_bytes(A) == []


def test_such_lines_are_looked_for_among_those_that_are_not_records(index: Index) -> None:
    plan = [step for *_, step in index._db.execute(f"EXPLAIN QUERY PLAN {SAME_BYTES}", {"file": C})]
    assert plan[:2] == [
        "SEARCH o USING INDEX other_lines (file=?)",
        "SEARCH r USING INDEX lines_by_id (file=? AND id=?)",
    ]
