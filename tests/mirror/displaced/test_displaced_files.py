"""Whatever the program does that holds a displaced file: its lines and edits come over, and undo nothing of ours."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from structlog.testing import capture_logs

from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.telemetry import failpoints
from tests.mirror.held import Held
from tests.mirror.in_process import CrashingDisk, SteppedClock
from tests.support import record

LATER_S = 75


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    clock = SteppedClock()
    (tmp_path / "data").mkdir()
    with capture_logs() as events:
        yield Held(tmp_path / "data", clock, CrashingDisk(), events)


def line(id: str) -> bytes:
    return json.dumps(record(id)).encode() + b"\n"


def edit_c5(file: IO[bytes], data: bytes) -> None:
    """Another program's edit of the same length, where `data` is what it read."""
    file.seek(data.index(b"in case c5?"))
    file.write(b"in no case!")


def much_later(held: Held) -> None:
    for _ in range(LATER_S):
        held.service.wait(1)
        held.service.round()


@pytest.mark.parametrize("front", [["first"], ["n0", "n1", "n2"]])
@pytest.mark.parametrize("killed", [False, True])
def test_a_holder_that_writes_all_back_with_lines_in_front_doubles_and_loses_nothing(
    held: Held, front: list[str], killed: bool
) -> None:
    with held.path.open("r+b") as file:
        data = file.read()
        held.correct("c0")
        file.seek(0)
        file.write(b"".join(map(line, front)) + data)
    if killed:
        held.service.crash()
        held.service.open()
    much_later(held)
    assert held.seen().keys() == held.records.keys() | set(front)
    assert held.corrected() == {"c0"}


def test_an_edit_and_a_line_between_two_looks_at_a_displaced_file_are_both_taken_in(held: Held) -> None:
    with held.path.open("r+b") as file:
        data = file.read()
        held.correct("c0")
        edit_c5(file, data)
        file.seek(0, os.SEEK_END)
        file.write(line("late"))
    held.come_to_rest()
    assert "late" in held.seen()
    held.correct_while_held("c1")
    assert held.copies() == [True, True], "what may hide an edit served again"
    much_later(held)
    assert "in no case!" in json.dumps(held.seen()["c5"]) and "in no case!" in json.dumps(held.served("c5"))
    assert held.corrected() == {"c0", "c1"} and held.seen().keys() == held.records.keys() | {"late"}


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_edit_in_a_displaced_file_undoes_no_decision_also_after_a_restart(held: Held, end: str) -> None:
    with held.path.open("r+b") as file:
        data = file.read()
        held.correct("c0")
        if end == "kill":
            held.correct("c5")
            held.service.crash()
        else:
            assert held.service.stop()
            assert list(held.path.parent.glob(".*.displaced")), "it was not set aside"
        held.service.open()
        held.come_to_rest()
        if end == "stop":
            held.correct("c5")
        edit_c5(file, data)
    much_later(held)
    assert held.corrected() == {"c0", "c5"} and held.served("c5")["status"] == "approved"


def test_a_late_line_is_there_although_the_directory_was_copied_after_a_kill(held: Held) -> None:
    with held.path.open("ab") as file:
        held.correct("c0")
        file.write(line("late"))
    held.service.crash()
    old = held.path.parent
    held.path = Path(shutil.copytree(old, old.with_name("copy"))) / held.path.name
    held.service.data = held.path.parent
    held.service.open()
    much_later(held)
    assert held.seen().keys() == held.records.keys() | {"late"} and held.corrected() == {"c0"}


def test_a_second_line_of_an_id_behind_an_edit_in_a_displaced_file_is_kept_and_changes_no_record(held: Held) -> None:
    with held.path.open("r+b") as file:
        data = file.read()
        held.correct("c0")
        edit_c5(file, data)
        file.seek(0, os.SEEK_END)
        file.write(json.dumps({"id": "c9", "status": "discarded"}).encode() + b"\n")
    much_later(held)
    assert held.served("c9")["status"] == "needs_review"
    assert held.service.ask(lambda reader: reader.stats(CandidateFilter())).duplicate_ids == 1
    assert "in no case!" in json.dumps(held.served("c5"))


@pytest.mark.parametrize("longer", [False, True])
def test_a_stale_file_that_takes_the_place_of_the_new_one_at_once_is_noticed(
    held: Held, monkeypatch: pytest.MonkeyPatch, longer: bool
) -> None:
    hit, stale = failpoints.hit, held.path.read_bytes()

    def replace_at_once(name: str) -> None:
        hit(name)
        if name == "replace.exchanged":
            monkeypatch.setattr(failpoints, "hit", hit)
            size = held.path.stat().st_size
            data = stale + line("foreign")
            (held.path.parent / "draft").write_bytes(data + b" " * (size - len(data) + 5_000 * longer))
            os.replace(held.path.parent / "draft", held.path)

    monkeypatch.setattr(failpoints, "hit", replace_at_once)
    with held.path.open("rb"):
        held.correct("c0")
    much_later(held)
    assert held.corrected() == {"c0"} and held.served("foreign")
    assert held.seen().keys() == held.records.keys() | {"foreign"}


def test_a_displaced_file_is_watched_although_its_directory_cannot_be_synced(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(self: CrashingDisk, path: Path) -> None:
        monkeypatch.undo()
        raise OSError(24, "Too many open files")

    held.come_to_rest()
    monkeypatch.setattr(CrashingDisk, "sync_directory", fail_once)
    with held.path.open("ab") as file:
        with pytest.raises(OSError, match="Too many"):
            held.correct("c0")
        file.write(line("late"))
    much_later(held)
    assert held.seen().keys() == held.records.keys() | {"late"} and held.corrected() == {"c0"}


def test_a_stop_ends_well_although_a_displaced_file_that_was_edited_is_held(held: Held) -> None:
    with held.path.open("r+b") as file:
        data = file.read()
        held.correct("c0")
        edit_c5(file, data)
        file.flush()
        assert held.service.stop()
        file.seek(0, os.SEEK_END)
        file.write(line("late"))
    held.service.open()
    much_later(held)
    assert "in no case!" in json.dumps(held.served("c5")) and held.corrected() == {"c0"}
    assert held.seen().keys() == held.records.keys() | {"late"}
