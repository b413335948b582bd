"""The store suite on SQLite, on disk and in memory, and what only a disk can show."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.core.ports.files import Store
from avocet_grpc.store.files_store import SqliteStore
from avocet_grpc.store.soundness import LedgerUnusable
from tests.store_suite import StoreSuite, correct, encode, exported, import_candidates


class TestSqliteOnDisk(StoreSuite):
    def open_store(self, tmp_path: Path) -> Store:
        return SqliteStore(tmp_path / "ledger.db", encode)

    def test_everything_is_there_after_a_restart(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        import_candidates(store, 5)
        answer = correct(store, "c1", request_id="r")
        stats = store.read(lambda r: r.stats(CandidateFilter()))
        store.close()
        again = self.open_store(tmp_path)
        assert again.read(lambda r: r.stats(CandidateFilter())) == stats
        assert correct(again, "c1", request_id="r") == answer
        assert exported(again) == ["c1"]
        again.close()

    def test_writes_that_wait_share_one_commit(self, store: Store) -> None:
        import_candidates(store, 20)
        commits: list[int] = []
        hold = threading.Event()
        first = store.write(lambda tx: hold.wait(10))
        store.on_commit(lambda: commits.append(1))
        waiting = [store.write(lambda tx: tx.new_revision()) for _ in range(20)]
        hold.set()
        assert first.result()
        revisions = [future.result() for future in waiting]
        assert revisions == list(range(revisions[0], revisions[0] + 20))
        assert len(commits) <= 2

    def test_a_file_that_is_no_ledger_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(LedgerUnusable):
            self.open_store(tmp_path)


class TestSqliteInMemory(StoreSuite):
    def open_store(self, tmp_path: Path) -> Store:
        return SqliteStore(None, encode)


def test_a_journal_that_a_crash_left_does_not_grow_from_start_to_start(tmp_path: Path) -> None:
    path, crashed = tmp_path / "ledger.db", tmp_path / "crashed"
    for number in range(4):
        store = SqliteStore(path, encode)
        for n in range(60):
            import_candidates(store, 60 * number + n)
        # The files as they are in the midst of it are what a crash leaves.
        crashed.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", crashed)
        store.close()
        for old in tmp_path.glob("ledger.db*"):
            old.unlink()
        for file in crashed.iterdir():
            file.rename(tmp_path / file.name)
        crashed.rmdir()
        size = path.with_name("ledger.db-wal").stat().st_size
        assert size > 100_000
        again = SqliteStore(path, encode)
        assert path.with_name("ledger.db-wal").stat().st_size == 0
        assert again.read(lambda r: r.stats(CandidateFilter())).total > 0
        again.close()
