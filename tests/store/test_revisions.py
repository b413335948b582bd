"""Revisions only grow: over clocks that are set back, private directories that are deleted, kills and old copies."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.errors import RevisionExpired
from avocet_grpc.core.export import ResumeTokens
from avocet_grpc.core.history import HistoryQuery, history_token, scan
from avocet_grpc.core.model import ExportSelection
from avocet_grpc.core.ports.ledger import HistoryCursor
from avocet_grpc.core.snapshots import SnapshotRequest, create_snapshot
from avocet_grpc.core.watch import WatchQuery, begin_watch, complete, watch_token
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import floor, opening
from avocet_grpc.store.sqlite.backup import copy_ledger
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, exported, import_candidates, newest
from tests.support import eventually

DAY = 86_400.0
NOW = 1_800_000_000.0


class FakeClock:
    """Unix time that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def opened(root: Path, clock: FakeClock, **more: Any) -> SqliteLedger:
    return SqliteLedger(DataDirectory(root), encode, clock=clock, **more)


def incarnation(ledger: SqliteLedger) -> str:
    with ledger.mirror().view() as view:
        return view.head().incarnation


def commit(ledger: SqliteLedger, times: int) -> int:
    for _ in range(times):
        ledger.write(lambda tx: tx.new_revision()).result()
    return newest(ledger)


def export_at(ledger: SqliteLedger, revision: int) -> list[str]:
    return exported(ledger, at_revision=revision)


def export_since(ledger: SqliteLedger, revision: int) -> list[str]:
    return exported(ledger, since_revision=revision)


def watch_since(ledger: SqliteLedger, revision: int) -> object:
    return ledger.read(lambda r: begin_watch(r, WatchQuery(since_revision=revision)))


def history_since(ledger: SqliteLedger, revision: int) -> object:
    return ledger.read(lambda r: [*scan(r, HistoryQuery(since_revision=revision))])


def snapshot_at(ledger: SqliteLedger, revision: int) -> object:
    request = SnapshotRequest(f"s{revision}", at_revision=revision)
    return ledger.write(lambda tx: create_snapshot(tx, request)).result()


NAMED_BY_REQUESTS = (export_at, export_since, watch_since, history_since, snapshot_at)


def export_token(ledger: SqliteLedger, revision: int, token: str = "") -> str:
    """The token of an export at this revision, or that export taken up again."""
    if token:
        exported(ledger, resume_token=token)
    return token or ResumeTokens(ExportSelection(revision)).after(0)


def watch_by_token(ledger: SqliteLedger, revision: int, token: str = "") -> str:
    if token:
        ledger.read(lambda r: begin_watch(r, WatchQuery(resume_token=token)))
    return token or watch_token(WatchQuery(), complete(revision))


def history_by_token(oldest_first: bool, ledger: SqliteLedger, revision: int, token: str) -> str:
    query = HistoryQuery(page_token=token, oldest_first=oldest_first)
    if token:
        ledger.read(lambda r: [*scan(r, query)])
        return token
    number = ledger.read(lambda r: r.log.entries(None, 1, newest_first=True))[0].number
    return history_token(query, HistoryCursor(revision, number))


def oldest_first(ledger: SqliteLedger, revision: int, token: str = "") -> str:
    return history_by_token(True, ledger, revision, token)


def newest_first(ledger: SqliteLedger, revision: int, token: str = "") -> str:
    return history_by_token(False, ledger, revision, token)


NAMED_BY_TOKENS = (export_token, watch_by_token, oldest_first, newest_first)


def test_a_new_ledger_begins_at_the_clock_in_microseconds(tmp_path: Path, clock: FakeClock) -> None:
    ledger = opened(tmp_path, clock)
    assert newest(ledger) == NOW * 1_000_000
    assert ledger.read(lambda r: r.first_revision()) == NOW * 1_000_000
    ledger.close()


def test_a_restart_changes_no_revision_whatever_the_clock_says(tmp_path: Path, clock: FakeClock) -> None:
    ledger = opened(tmp_path, clock)
    last, name = commit(ledger, 3), incarnation(ledger)
    ledger.close()
    for step in (DAY, -2 * DAY):
        clock.now += step
        ledger = opened(tmp_path, clock)
        assert (newest(ledger), incarnation(ledger)) == (last, name)
        ledger.close()


def test_after_a_clean_stop_a_new_ledger_goes_on_where_the_old_one_ended_although_the_clock_was_set_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    ledger = opened(tmp_path, clock)
    last = commit(ledger, 5)
    ledger.close()
    shutil.rmtree(DataDirectory(tmp_path).private)
    clock.now -= DAY
    ledger = opened(tmp_path, clock)
    assert newest(ledger) == last
    ledger.close()


def test_a_kill_cannot_undercut_the_floor(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor, "AHEAD", 10)
    killed = opened(tmp_path, clock)
    for _ in range(7):
        last = commit(killed, 6)
        kept = int(os.getxattr(tmp_path, "user.avocet.revision"))
        assert last < kept <= last + 20
    # It is never closed, as if it had been killed here.
    shutil.rmtree(DataDirectory(tmp_path).private)
    clock.now -= DAY
    ledger = opened(tmp_path, clock)
    assert newest(ledger) > last
    ledger.close()


def test_a_rebuilt_ledger_begins_no_lower_than_it_is_told(tmp_path: Path, clock: FakeClock) -> None:
    ledger = opened(tmp_path, clock, first_revision=2**60)
    assert newest(ledger) == 2**60
    ledger.close()


def test_a_backup_begins_another_life_above_all_that_the_original_gave(tmp_path: Path, clock: FakeClock) -> None:
    ledger = opened(tmp_path / "a", clock)
    import_candidates(ledger, 3)
    copied, name = newest(ledger), incarnation(ledger)
    restored = DataDirectory(tmp_path / "b")
    restored.private.mkdir(parents=True)
    copy_ledger(DataDirectory(tmp_path / "a").ledger, restored.ledger, lambda done, total: None)
    commit(ledger, 5)
    ledger.close()
    clock.now += 60
    again = opened(tmp_path / "b", clock)
    assert newest(again) == clock.now * 1_000_000 > copied + 5
    assert incarnation(again) != name
    life = incarnation(again)
    last = commit(again, 1)
    again.close()
    again = opened(tmp_path / "b", clock)
    assert (newest(again), incarnation(again)) == (last, life)
    again.close()


def test_what_names_a_revision_that_a_restored_backup_lacks_is_expired_and_what_the_backup_has_stays_good(
    tmp_path: Path, clock: FakeClock
) -> None:
    ledger = opened(tmp_path / "a", clock)
    import_candidates(ledger, 9)
    correct(ledger, "c0")
    held = newest(ledger)
    good = {call: call(ledger, held) for call in NAMED_BY_TOKENS}
    restored = DataDirectory(tmp_path / "b")
    restored.private.mkdir(parents=True)
    copy_ledger(DataDirectory(tmp_path / "a").ledger, restored.ledger, lambda done, total: None)
    for n in range(1, 9):
        correct(ledger, f"c{n}")
    lost = newest(ledger)
    gone = {call: call(ledger, lost) for call in NAMED_BY_TOKENS}
    ledger.close()
    clock.now += 60
    ledger = opened(tmp_path / "b", clock)
    correct(ledger, "c1")
    for name in NAMED_BY_REQUESTS:
        name(ledger, held)
        with pytest.raises(RevisionExpired):
            name(ledger, lost)
    for call, token in gone.items():
        with pytest.raises(RevisionExpired):
            call(ledger, 0, token)
        call(ledger, 0, good[call])
    ledger.close()


def test_a_backup_in_place_of_the_original_heeds_the_floor_although_the_clock_was_set_back(
    tmp_path: Path, clock: FakeClock
) -> None:
    ledger = opened(tmp_path, clock)
    backup = tmp_path / "backup.db"
    copy_ledger(DataDirectory(tmp_path).ledger, backup, lambda done, total: None)
    last = commit(ledger, 5)
    ledger.close()
    shutil.rmtree(DataDirectory(tmp_path).private)
    DataDirectory(tmp_path).private.mkdir()
    backup.rename(DataDirectory(tmp_path).ledger)
    clock.now -= DAY
    ledger = opened(tmp_path, clock)
    assert newest(ledger) >= last
    ledger.close()


def test_an_older_copy_that_somebody_put_back_by_hand_is_another_life(tmp_path: Path, clock: FakeClock) -> None:
    ledger = opened(tmp_path, clock)
    name = incarnation(ledger)
    ledger.close()
    shutil.copytree(DataDirectory(tmp_path).private, tmp_path / "copy")
    ledger = opened(tmp_path, clock)
    last = commit(ledger, 5)
    ledger.close()
    shutil.rmtree(DataDirectory(tmp_path).private)
    (tmp_path / "copy").rename(DataDirectory(tmp_path).private)
    ledger = opened(tmp_path, clock)
    assert newest(ledger) >= last
    assert incarnation(ledger) != name
    ledger.close()


def test_without_extended_attributes_the_clock_alone_says_where_a_ledger_begins(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(path: Path, name: str, *value: bytes) -> bytes:
        asked.append(name)
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "getxattr", refuse)
    monkeypatch.setattr(os, "setxattr", refuse)
    ledger = opened(tmp_path, clock)
    last = commit(ledger, 3)
    ledger.close()
    ledger = opened(tmp_path, clock)
    assert newest(ledger) == last == NOW * 1_000_000 + 3
    ledger.close()
    shutil.rmtree(DataDirectory(tmp_path).private)
    clock.now += 1
    ledger = opened(tmp_path, clock)
    assert newest(ledger) == clock.now * 1_000_000
    ledger.close()
    assert set(asked) == {floor.ATTRIBUTE}


def test_a_floor_that_a_full_disk_refused_is_written_by_the_first_change_once_there_is_room(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, name: str, value: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "setxattr", refuse)
        ledger = opened(tmp_path, clock)
        commit(ledger, 3)
    assert floor.RevisionFloor(tmp_path).read() == 0
    last = commit(ledger, 1)
    # Who hears of a commit hears of it after its caller.
    eventually(lambda: floor.RevisionFloor(tmp_path).read() > last)
    # As after a kill: the directory is deleted, and the clock is set back.
    (tmp_path / ".avocet").rename(tmp_path / "gone")
    clock.now -= 3_600
    again = opened(tmp_path, clock)
    assert newest(again) > last
    for each in (again, ledger):
        each.close()


def test_an_attribute_that_is_no_number_is_no_floor(tmp_path: Path, clock: FakeClock) -> None:
    os.setxattr(tmp_path, floor.ATTRIBUTE, b"seven")
    ledger = opened(tmp_path, clock)
    assert newest(ledger) == NOW * 1_000_000
    ledger.close()
    assert opening.Begin(floor.RevisionFloor(tmp_path), clock).revision() == NOW * 1_000_000
