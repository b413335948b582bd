"""The ledger's suite on SQLite, on disk and in memory, and what only a disk can show."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, CandidateFilter, Decision
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import engine, writer
from avocet_grpc.store.sqlite.condition import Condition
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.integrity import LedgerUnusable
from avocet_grpc.store.sqlite.session import connect
from avocet_grpc.store.sqlite.writer import Checkpoint
from avocet_grpc.telemetry import failpoints
from tests.ledger_suite import LedgerSuite, correct, encode, exported, import_candidates
from tests.mirror_port_suite import MirrorPortSuite
from tests.support import eventually


class TestSqliteOnDisk(LedgerSuite):
    def open_ledger(self, tmp_path: Path) -> Ledger:
        return SqliteLedger(DataDirectory(tmp_path), encode)

    def test_everything_is_there_after_a_restart(self, tmp_path: Path) -> None:
        ledger = self.open_ledger(tmp_path)
        import_candidates(ledger, 5)
        answer = correct(ledger, "c1", request_id="r")
        stats = ledger.read(lambda r: r.stats(CandidateFilter()))
        ledger.close()
        again = self.open_ledger(tmp_path)
        assert again.read(lambda r: r.stats(CandidateFilter())) == stats
        assert correct(again, "c1", request_id="r") == answer
        assert exported(again) == ["c1"]
        again.close()

    def test_writes_that_wait_share_one_commit(self, ledger: Ledger) -> None:
        import_candidates(ledger, 20)
        commits: list[int] = []
        hold = threading.Event()
        first = ledger.write(lambda tx: hold.wait(10))
        ledger.on_commit(lambda: commits.append(1))
        waiting = [ledger.write(lambda tx: tx.new_revision()) for _ in range(20)]
        hold.set()
        assert first.result()
        revisions = [future.result() for future in waiting]
        assert revisions == list(range(revisions[0], revisions[0] + 20))
        assert len(commits) <= 2

    def test_a_file_that_is_no_ledger_is_refused(self, tmp_path: Path) -> None:
        path = DataDirectory(tmp_path).ledger
        path.parent.mkdir()
        path.write_bytes(b"this is no database" * 100)
        with pytest.raises(LedgerUnusable):
            self.open_ledger(tmp_path)


class TestSqliteInMemory(LedgerSuite):
    def open_ledger(self, tmp_path: Path) -> Ledger:
        return SqliteLedger(None, encode)


class TestMirrorPortOnDisk(MirrorPortSuite):
    def open_ledger(self, tmp_path: Path) -> SqliteLedger:
        return SqliteLedger(DataDirectory(tmp_path), encode)


class TestMirrorPortInMemory(MirrorPortSuite):
    def open_ledger(self, tmp_path: Path) -> SqliteLedger:
        return SqliteLedger(None, encode)


def test_a_journal_that_a_crash_left_does_not_grow_from_start_to_start(tmp_path: Path) -> None:
    path, crashed = DataDirectory(tmp_path).ledger, tmp_path / "crashed"
    journal = path.with_name("ledger.db-wal")
    for number in range(4):
        ledger = SqliteLedger(DataDirectory(tmp_path), encode)
        for n in range(60):
            import_candidates(ledger, 60 * number + n)
        # The files as they are in the midst of it are what a crash leaves.
        crashed.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", crashed)
        ledger.close()
        for old in path.parent.glob("ledger.db*"):
            old.unlink()
        for file in crashed.iterdir():
            file.rename(path.parent / file.name)
        crashed.rmdir()
        assert journal.stat().st_size > 100_000
        again = SqliteLedger(DataDirectory(tmp_path), encode)
        assert journal.stat().st_size == 0
        assert again.read(lambda r: r.stats(CandidateFilter())).total > 0
        again.close()


def test_a_journal_that_is_not_there_is_no_failure_of_the_storage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (n)")
        condition = Condition(path)
        Checkpoint(connection, path, condition).run_if_due()
        assert not condition.failed and not path.with_name("ledger.db-wal").exists()


class Slow:
    """A connection that begins to copy the journal once it may."""

    def __init__(self, connection: sqlite3.Connection, asked: threading.Event, may: threading.Event) -> None:
        self._connection, self._asked, self._may = connection, asked, may

    def execute(self, statement: str) -> sqlite3.Cursor:
        self._asked.set()
        assert self._may.wait(60)
        return self._connection.execute(statement)

    def close(self) -> None:
        self._connection.close()


def copied_slowly(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """After 100 changed rows the journal is copied: set are that it is about to be, and that it may be."""
    asked, may = threading.Event(), threading.Event()
    monkeypatch.setattr(writer, "connect", lambda path: Slow(connect(path), asked, may))
    monkeypatch.setattr(writer, "CHECKPOINT_CHANGES", 100)
    return asked, may


def test_commits_go_on_while_the_journal_is_copied_and_it_begins_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may = copied_slowly(monkeypatch)
    journal = DataDirectory(tmp_path).ledger.with_name("ledger.db-wal")
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        import_candidates(ledger, 100)
        assert asked.wait(60)
        for number in range(50):
            correct(ledger, f"c{number}")
        may.set()

        def copied() -> bool:
            ledger.write(lambda tx: tx.new_revision()).result()
            return not any(thread.name == "ledger-checkpoint" for thread in threading.enumerate())

        eventually(copied)
        # The writer has copied the rest before it takes the second one.
        for _ in range(2):
            ledger.write(lambda tx: tx.new_revision()).result()
        grown = journal.stat().st_size
        for number in range(50, 60):
            correct(ledger, f"c{number}")
        assert journal.stat().st_size == grown
        assert len(exported(ledger)) == 60


def test_a_journal_that_grows_too_large_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may = copied_slowly(monkeypatch)
    monkeypatch.setattr(writer, "LARGEST_JOURNAL", 0)
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        import_candidates(ledger, 100)
        assert asked.wait(60)
        ledger.write(lambda tx: tx.new_revision()).result()
        late = ledger.write(lambda tx: tx.new_revision())
        with contextlib.suppress(TimeoutError):
            late.result(timeout=0.5)
        assert not late.done()
        may.set()
        assert late.result(timeout=60)


def test_a_large_load_waits_until_the_journal_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may = copied_slowly(monkeypatch)
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        import_candidates(ledger, 100)
        assert asked.wait(60)
        threading.Timer(0.2, may.set).start()
        with ledger.loading():
            assert may.is_set()
        assert correct(ledger, "c1")


@pytest.mark.parametrize("stays", [False, True], ids=["lets go soon", "stays"])
def test_a_large_load_goes_on_beside_a_killed_process_that_still_has_the_ledger_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    monkeypatch.setattr(engine, "LEAVE_S", 0.5 if stays else 60.0)
    path = DataDirectory(tmp_path).ledger
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        other = connect(path)
        other.execute("BEGIN")
        other.execute("SELECT revision FROM head").fetchall()
        if not stays:
            threading.Timer(0.3, other.close).start()
        with ledger.loading():
            assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal" if stays else "delete",)
        assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()
        import_candidates(ledger, 3)
        assert correct(ledger, "c1")


@pytest.mark.parametrize("after", ["", "a load", "a load that failed"])
def test_a_commit_of_many_changes_writes_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """SQLite would keep each page as it was in one: almost as many bytes as are stored."""
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        if after:
            with contextlib.suppress(ZeroDivisionError), ledger.loading():
                assert ledger._db.execute("PRAGMA temp_store").fetchone() == (1,), "an index is too large for memory"
                assert after == "a load" or 1 / 0
        import_candidates(ledger, 5_000)
        found, hold = set[str](), threading.Event()
        ledger.write(lambda tx: hold.wait(60))
        decided = [ledger.write(decision(f"c{number}")) for number in range(0, 5_000, 50)]
        monkeypatch.setattr(failpoints, "hit", lambda name: found.update(map(str, open_files())))
        hold.set()
        for each in decided:
            each.result()
        assert str(DataDirectory(tmp_path).ledger) in found
        assert [name for name in found if "etilqs" in name] == []


def decision(id: str) -> Callable[[Any], Any]:
    return lambda tx: review.submit(tx, Decision(id, Action.CORRECT, "better"))


def open_files() -> list[Path]:
    """What this process has open."""
    found = list[Path]()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(descriptor.readlink())
    return found
