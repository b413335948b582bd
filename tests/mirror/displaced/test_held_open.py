"""Programs that keep the file open again and again, and let it grow: it is within a second all the same."""

from __future__ import annotations

import contextlib
import json
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision, File, UndoRequest
from avocet_grpc.mirror.displaced.drain import DRAIN_AT_STOP_S
from avocet_grpc.mirror.fs.signature import END_BYTES
from avocet_grpc.mirror.inbound.look import SETTLE_S
from avocet_grpc.mirror.outbound import replace, reuse
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock
from tests.support import record, records, write_records

SYNC_S = 0.05
NOT_LEVEL_S = 0.05
GATHER_S = 0.03
WITHIN_S = 1.0


class SlowDisk(CrashingDisk):
    """Each sync takes its time, on the clock that the shared files see."""

    def sync(self, descriptor: int) -> None:
        assert self.clock is not None
        self.clock.sleep(SYNC_S)


def test_a_file_that_others_hold_again_and_again_is_within_a_second(tmp_path: Path) -> None:
    clock = SteppedClock()
    with contextlib.nullcontext(SlowDisk()) as disk:
        write_records(path := tmp_path / "sft_candidates.jsonl", [record(f"c{n}") for n in range(20)])
        service = InProcess(tmp_path, clock, disk)
        service.open()
        assert service.round()
        inodes = [path.stat().st_ino]
        for number in range(10):
            with path.open("a") as held:
                held.write(json.dumps(record(f"foreign{number}")) + "\n")
                held.flush()
                behind = seconds_behind(service, clock, path, f"c{number}")
            assert behind <= WITHIN_S, f"decision {number}: {behind:.2f} s behind"
            inodes.append(path.stat().st_ino)
        assert all(one != other for one, other in pairwise(inodes)), "it was not swapped for want of a lease"
        assert len(set(inodes)) == 2, "it was copied again although nobody had the displaced file open"
        assert service.stop()


def test_swaps_rest_between_each_other_while_what_they_displaced_takes_much_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock()
    with contextlib.nullcontext(SlowDisk()) as disk:
        write_records(path := tmp_path / "sft_candidates.jsonl", [record(f"c{n}") for n in range(20)])
        service = InProcess(tmp_path, clock, disk)
        service.open()
        monkeypatch.setattr(replace, "DISPLACED_BYTES", 10 * path.stat().st_size)
        behind = []
        with ExitStack() as holders:
            for number in range(20):
                holders.enter_context(path.open("rb"))
                behind.append(seconds_behind(service, clock, path, f"c{number}"))
        assert max(behind[:8]) <= WITHIN_S < max(behind[12:])
        assert service.stop()


def test_a_stop_waits_for_the_displaced_ones_of_both_files_at_once(tmp_path: Path) -> None:
    clock = SteppedClock()
    with contextlib.nullcontext(CrashingDisk()) as disk:
        write_records(path := tmp_path / "sft_candidates.jsonl", [record(f"c{n}") for n in range(3)])
        service = InProcess(tmp_path, clock, disk)
        service.open()
        for number in range(3):
            seconds_behind(service, clock, path, f"c{number}")
        service.do(lambda tx: review.undo(tx, UndoRequest("c0")))
        while not service.round():
            clock.sleep(NOT_LEVEL_S)
        before = {one: one.stat().st_ino for one in tmp_path.glob("*.jsonl")}
        started = clock.monotonic()
        assert service.stop()
        assert DRAIN_AT_STOP_S <= clock.monotonic() - started < 1.5 * DRAIN_AT_STOP_S
        assert len(before) == 2 and all(one.stat().st_ino != inode for one, inode in before.items())


def seconds_behind(service: InProcess, clock: SteppedClock, path: Path, id: str) -> float:
    """How long, on the clock of the shared files, a decision takes until it stands in the file."""
    service.do(lambda tx: review.submit(tx, Decision(id, Action.CORRECT, "better")))
    started = clock.monotonic()
    while status_of(path, id) != "approved":
        assert clock.monotonic() < started + 60, "it never came"
        clock.sleep(NOT_LEVEL_S + GATHER_S)
        service.round()
    return clock.monotonic() - started


def status_of(path: Path, id: str) -> Any:
    return next(one["status"] for one in records(path) if one["id"] == id)


@pytest.mark.parametrize(("place", "name"), [(replace, "build_compact"), (reuse, "level")])
def test_an_edit_that_a_growth_hides_from_a_swap_is_served_once_the_file_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: ModuleType, name: str
) -> None:
    clock = SteppedClock()
    make = getattr(place, name)

    def edit_and_append_after(*arguments: Any) -> Any:
        monkeypatch.setattr(place, name, make)
        made = make(*arguments)
        path.write_bytes(path.read_bytes().replace(b"before", b"edited"))
        with path.open("a") as file:
            file.write(json.dumps(record("foreign", model_response="x" * END_BYTES)) + "\n")
        return made

    with contextlib.nullcontext(CrashingDisk()) as disk:
        write_records(path := tmp_path / "sft_candidates.jsonl", [record("c0"), record("edited", task_name="before")])
        with path.open("a") as file:
            file.write(json.dumps(record("long", model_response="x" * END_BYTES)) + "\n")
        service = InProcess(tmp_path, clock, disk)
        service.open()
        while not service.round():
            clock.sleep(1)
        inode = path.stat().st_ino
        monkeypatch.setattr(place, name, edit_and_append_after)
        if place is replace:
            assert service.mirror._files[File.CANDIDATES]._compact()
        else:
            with path.open("a"):
                seconds_behind(service, clock, path, "c0")
        assert path.stat().st_ino != inode and getattr(place, name) is make
        for _ in range(3):
            clock.sleep(SETTLE_S)
            service.round()
        assert status_of(path, "foreign") and task_name(service, "edited") == "edited"
        assert service.stop()
        assert next(one["task_name"] for one in records(path) if one["id"] == "edited") == "edited"


def task_name(service: InProcess, id: str) -> Any:
    served = service.served(id)
    assert served is not None
    return served["task_name"]
