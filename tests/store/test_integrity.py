"""A ledger that is not what the service wrote is refused with what is wrong, and what can be had of it is had."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from avocet_grpc.core.model import FailureCategory, File
from avocet_grpc.core.ports.mirror import Cursor, FileReport
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.carry_over import carry_over
from avocet_grpc.store.sqlite import inspect
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.integrity import LedgerDamaged, LedgerUnusable
from tests.ledger_suite import correct, encode, exported, import_candidates, newest, undo

WRONG = {
    "a line that changed": (
        "UPDATE bodies SET raw = CAST('{}' AS BLOB), size = 2 WHERE key = 3",
        "content of record 3",
    ),
    "a line whose stored form changed": (
        "UPDATE bodies SET raw = CAST(substr(raw, 1, length(raw) - 1) || x'00' AS BLOB) WHERE key = 3",
        "content of record 3",
    ),
    "a line of no record": ("INSERT INTO bodies VALUES (99, 2, CAST('{}' AS BLOB))", "line 99 belongs to no record"),
    "a line that is missing": ("DELETE FROM bodies WHERE key = 3", "record 3 (c2) has no line"),
    "a line too many": ("UPDATE records SET lives = 0, queued = 0 WHERE key = 3", "record 3 (c2) has still a line"),
    "a counter": ("UPDATE counters SET n = n + 1 WHERE name = 'by_model' AND value = 'm1'", "the counter by_model m1"),
    "a facet": ("UPDATE facets SET n = n + 1 WHERE queued = 1 AND model_name = 'm1'", "the facet "),
    "a record under another facet": ("UPDATE records SET facet = 1 WHERE key = 3", "is not found by all filters"),
    "an example too many": ("UPDATE records SET exported = 0 WHERE exported = 1", "is exported and should not be"),
    "an example too few": ("DELETE FROM examples", "is not exported and should be"),
}


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode)
    import_candidates(ledger, 5)
    correct(ledger, "c0", failure_category=FailureCategory.WRONG_ANSWER)
    correct(ledger, "c1")
    undo(ledger, "c1")
    ledger.close()
    return directory


def test_a_sound_ledger_has_no_problems(directory: DataDirectory) -> None:
    assert inspect.problems(directory.ledger) == []


@pytest.mark.parametrize("statement, problem", WRONG.values(), ids=WRONG.keys())
def test_each_kind_of_wrong_content_is_told(directory: DataDirectory, statement: str, problem: str) -> None:
    with sqlite3.connect(directory.ledger) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()
    assert any(problem in told for told in inspect.problems(directory.ledger))


def test_a_byte_that_changed_after_a_clean_stop_is_refused_and_nothing_is_changed(directory: DataDirectory) -> None:
    content = bytearray(directory.ledger.read_bytes())
    content[len(content) // 2] ^= 1
    directory.ledger.write_bytes(content)
    with pytest.raises(LedgerDamaged, match="avocet-grpc rebuild"):
        SqliteLedger(directory, encode)
    assert directory.ledger.read_bytes() == content


def test_a_broken_structure_is_refused_after_a_stop_that_was_not_clean(directory: DataDirectory) -> None:
    directory.ledger.with_name("ledger.db-seal").unlink()
    content = bytearray(directory.ledger.read_bytes())
    content[4096:8192] = bytes(4096)
    directory.ledger.write_bytes(content)
    with pytest.raises(LedgerDamaged):
        SqliteLedger(directory, encode)
    assert inspect.problems(directory.ledger)


def test_a_ledger_that_is_missing_beside_its_seal_is_not_made_again(directory: DataDirectory) -> None:
    directory.ledger.unlink()
    with pytest.raises(LedgerDamaged, match="missing"):
        SqliteLedger(directory, encode)
    assert not directory.ledger.exists()


def test_a_refused_ledger_lets_go_of_its_locks(directory: DataDirectory) -> None:
    content = directory.ledger.read_bytes()
    directory.ledger.write_bytes(content[:-1] + b"\1")
    with pytest.raises(LedgerUnusable):
        SqliteLedger(directory, encode)
    directory.ledger.write_bytes(content)
    SqliteLedger(directory, encode).close()


def test_what_the_files_lack_is_had_of_a_ledger_and_carried_over_into_another(
    directory: DataDirectory, tmp_path: Path
) -> None:
    ledger = SqliteLedger(directory, encode)
    mirror = ledger.mirror()
    level = Cursor(newest(ledger), 1 << 40)
    for file in File:
        mirror.set_report(mirror.take_over(), file, FileReport(level, 0, 0))
    correct(ledger, "c2", "late")
    undo(ledger, "c0")
    kept = {id: ledger.read(lambda r, i=id: r.candidate(i)).raw for id in ("c0", "c2")}
    contents = inspect.contents(directory.ledger)
    ledger.close()

    assert contents.revision == level.revision + 2
    assert (contents.request_ids, contents.unreadable) == (0, 0)
    assert [one.id for one in contents.pending[File.CANDIDATES]] == ["c2", "c0"]
    assert [(one.id, one.raw is None) for one in contents.pending[File.APPROVED]] == [("c2", False), ("c0", True)]

    other = SqliteLedger(DataDirectory(tmp_path / "other"), encode)
    import_candidates(other, 5)
    correct(other, "c0")
    for file in File:
        other.write(lambda tx, f=file: carry_over(tx, f, contents.pending[f])).result()
    assert {id: other.read(lambda r, i=id: r.candidate(i)).raw for id in kept} == kept
    assert exported(other) == ["c2"]
    other.close()


def test_what_cannot_be_read_any_more_is_told_as_unknown(directory: DataDirectory) -> None:
    directory.ledger.write_bytes(b"no ledger" * 1_000)
    contents = inspect.contents(directory.ledger)
    assert (contents.revision, contents.history, contents.unreadable) == (None, None, None)
    assert contents.pending == {file: [] for file in File}
