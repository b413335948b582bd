"""Kills, disks without room and other processes: exports stay what the ledger's own tables give, and no call fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.model import ExportSelection
from avocet_grpc.store.examples import ledger as export_ledger
from avocet_grpc.store.examples import segment
from avocet_grpc.store.examples import store as example_store
from avocet_grpc.store.examples.layout import ROW
from avocet_grpc.store.examples.numeric import np
from avocet_grpc.store.examples.place import BODIES, FACETS, ROWS, Place
from avocet_grpc.store.examples.segment import Example, Segment
from avocet_grpc.store.sql.examples import ExampleQueries
from tests.faults.support import mounted, need, run
from tests.ledger_suite import newest
from tests.store.exporting import Store
from tests.support import eventually

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """The process has ended."""


class DyingDisk:
    """Lets so many writes through, then a part of one, and none after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writes: int, part: float) -> None:
        self.writes, self._part = writes, part
        self._real = os.pwrite
        monkeypatch.setattr(os, "pwrite", self._pwrite)

    def _pwrite(self, descriptor: int, content: bytes, offset: int) -> int:
        self.writes -= 1
        if self.writes < 0:
            if self.writes == -1:
                self._real(descriptor, content[: int(self._part * len(content))], offset)
            raise Killed
        return self._real(descriptor, content, offset)


@pytest.mark.parametrize("part", [0, 0.5, 0.99, 1])
def test_a_kill_at_each_write_leaves_files_that_a_start_goes_on_from_or_makes_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    store.copy.bring_level()
    killed = 0
    for writes in range(40):
        store.keep_alone()
        with monkeypatch.context() as patch:
            disk = DyingDisk(patch, writes, part)
            store.change()
            store.change()
            try:
                store.copy.bring_level()
            except Killed:
                killed += 1
            store.copy.store.close()
            ended = disk.writes >= 0
        store.close_copy()
        store.open()
        store.check_some()
        if ended:
            break
    assert killed >= 5


def test_sigkill_while_the_files_grow_leaves_exports_as_they_are(store: Store) -> None:
    store.close_copy()
    program = (
        "import os, random, signal, sys; from pathlib import Path\n"
        "from tests.store.exporting import Store\n"
        "from avocet_grpc.store.examples import ledger, segment\n"
        "ledger.GATHER_S = 0\n"
        "real, left = os.pwrite, [int(sys.argv[2])]\n"
        "def pwrite(descriptor, content, offset):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0:\n"
        "        real(descriptor, content[: len(content) // 2], offset)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(descriptor, content, offset)\n"
        "segment.os.pwrite = pwrite\n"
        "store = Store(Path(sys.argv[1]), random.Random(int(sys.argv[2])))\n"
        "while True:\n"
        "    store.change()\n"
    )
    for writes in (3, 10, 25):
        child = subprocess.run(
            [sys.executable, "-c", program, str(store.directory), str(writes)], cwd=ROOT, timeout=120
        )
        assert child.returncode == -9
        store.open()
        store.revisions.append(newest(store.plain))
        store.check_some()
        store.close_copy()
    store.open()


def test_a_full_disk_is_no_error_and_the_files_go_on_once_there_is_room(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("root")
    monkeypatch.setattr(segment, "LEAVE_FREE", 0)
    monkeypatch.setattr(export_ledger, "RETRY_S", 0.0)
    store.close_copy()
    place = tmp_path / "small"
    with mounted(place, "-t", "tmpfs", "-o", "size=8k", "tmpfs"):
        store.copy = export_ledger.ExportLedger(store.plain, place / "examples")
        store.copy.bring_level()
        assert not store.copy.store.is_level()
        store.check_some()
        run("mount", "-o", "remount,size=64m", str(place))
        store.copy.bring_level()
        assert store.copy.store.is_level()
        store.check_some()
        store.close_copy()
    store.open()


def test_the_files_leave_three_quarters_of_a_disk_to_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "LEAVE_FREE", 1 << 60)
    store.copy.store.give_back()
    store.copy.bring_level()
    assert not store.copy.store.is_level()
    store.check_some()


def test_a_full_ledger_takes_the_room(store: Store) -> None:
    store.copy.bring_level()
    assert (store.files / BODIES).exists()
    store.copy._give_back()
    eventually(lambda: not (store.files / BODIES).exists())
    store.check_some()


def test_most_of_it_gone_from_the_ledger_the_files_are_made_again_and_smaller(store: Store) -> None:
    for _ in range(200):
        store.change()
    store.copy.bring_level()
    before = (store.files / ROWS).stat().st_size
    store.prune()
    store.copy.bring_level()
    assert (store.files / ROWS).stat().st_size < before / 2
    store.check_some()


def test_processes_of_one_directory_have_files_of_their_own_and_send_the_same(store: Store) -> None:
    other = export_ledger.ExportLedger(store.plain, store.files.parent)
    try:
        store.copy.bring_level()
        other.bring_level()
        assert other.store.is_level() and store.copy.store.is_level()
        assert (store.files.parent / "1" / FACETS).exists()
        store.change()
        asked = ExportSelection(newest(store.plain))
        batches = [ledger.read(lambda r: r.export_batch(asked, 0, 1_000, 1 << 30)) for ledger in (store.copy, other)]
        assert batches[0] == batches[1]
        store.copy.store.remove_unused()
        assert (store.files.parent / "1" / ROWS).exists()
        eventually(other.store.is_level)
    finally:
        other.stop()
    store.copy.store.remove_unused()
    assert not (store.files.parent / "1" / ROWS).exists() and (store.files / ROWS).exists()
    store.check_some()


def test_a_view_that_breaks_off_is_followed_again_from_where_it_began(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example_store, "ROWS_AT_ONCE", 2)
    real = ExampleQueries.approved

    def breaks_off(self: ExampleQueries, after: int) -> Iterator[Any]:
        yield from list(real(self, after))[:5]
        raise Overloaded("the view is gone")

    store.keep_alone()
    for _ in range(20):
        store.change()
    with monkeypatch.context() as patch:
        patch.setattr(ExampleQueries, "approved", breaks_off)
        with pytest.raises(Overloaded):
            store.copy.bring_level()
    store.check_some()


def test_a_directory_that_is_removed_meanwhile_is_made_again(store: Store) -> None:
    store.copy.bring_level()
    shutil.rmtree(store.files.parent)
    store.copy.store.give_back()
    for _ in range(3):
        store.change()
        store.check_some()
        store.copy._retry_at = 0.0
        store.copy.bring_level()
    assert store.is_level()
    store.check_some()


def test_rows_behind_a_row_that_was_not_written_whole_are_no_part_of_what_is_appended_next(tmp_path: Path) -> None:
    place = Place(tmp_path / "examples")

    def rows(count: int) -> Any:
        return np.zeros(count, ROW)

    examples = [Example(b"body", b"id\n")]
    files = Segment(place, "ledger", new=True)
    files.append(rows(1), examples, b"", 1)
    end = (place.path / ROWS).stat().st_size
    files.append(rows(3), 3 * examples, b"", 2)
    with (place.path / ROWS).open("r+b") as file:
        file.seek(end)
        file.write(b"\xff" * 8)
    files = Segment(place, "ledger", new=False)
    assert files.load().covered == 1
    assert sum(len(part) for part, _ in files.parts()) == 1
    files.append(rows(0), [], b"", 3)
    files = Segment(place, "ledger", new=False)
    assert files.load().covered == 3
    assert sum(len(part) for part, _ in files.parts()) == 1
    place.close()
