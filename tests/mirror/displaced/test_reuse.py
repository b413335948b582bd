"""A displaced file serves again once nobody has it open: nothing is lost by it, and nothing comes back."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from avocet_grpc.core import ingest, review
from avocet_grpc.core.model import Action, Correction, Decision, File, Source, UndoRequest
from avocet_grpc.core.ports.mirror import Fenced
from avocet_grpc.mirror.fs.lease import PATIENCE_S
from avocet_grpc.mirror.outbound import reuse
from avocet_grpc.mirror.outbound.replace import DRAFT_S
from tests.mirror.held import Held
from tests.mirror.in_process import CrashingDisk, SteppedClock
from tests.support import record


class BusyDisk(CrashingDisk):
    """At each sync of a file, another program appends a line to the `busy` one, `lines` in all."""

    busy: Path | None = None
    lines = 0
    made = 0

    def sync(self, descriptor: int) -> None:
        if self.busy is not None and self.lines:
            self.lines -= 1
            with self.busy.open("a") as file:
                file.write(json.dumps(record(f"busy{self.lines}")) + "\n")

    def truncate(self, descriptor: int, size: int) -> None:
        self.made += 1
        super().truncate(descriptor, size)


class SlowDisk(CrashingDisk):
    """Each sync takes as long as one round copies."""

    def sync(self, descriptor: int) -> None:
        assert self.clock is not None
        self.clock.sleep(reuse.COPY_S)


class LosingDisk(SlowDisk):
    """Once it is `lost`, this process may copy no more."""

    lost = False

    def copy(self, source: int, start: int, target: int, at: int, count: int) -> int:
        if self.lost:
            raise Fenced("the lease of the files has run out")
        return super().copy(source, start, target, at, count)


def opened_below(directory: Path) -> set[str]:
    """The names of the directory's files that this process has open."""
    found = set[str]()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {Path(name).name for name in found if Path(name).parent == directory}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    clock = SteppedClock()
    with capture_logs() as events:
        yield Held(tmp_path, clock, CrashingDisk(), events)


def test_a_displaced_file_that_serves_again_has_what_was_written_since(held: Held) -> None:
    held.correct_while_held("c0")
    for number in range(1, 30):
        held.correct(f"c{number}")
    held.service.do(lambda tx: review.undo(tx, UndoRequest("c7")))
    held.append("foreign")
    held.correct_while_held("c30")
    assert held.copies() == [True, False]
    assert held.corrected() == {f"c{n}" for n in range(31)} - {"c7"}
    assert held.seen().keys() == held.records.keys() | {"foreign"}
    assert held.service.stop()
    assert held.corrected() == {f"c{n}" for n in range(31)} - {"c7"}


def test_a_displaced_file_that_somebody_reads_stays_as_it_is(held: Held) -> None:
    with held.path.open("rb") as reader:
        held.correct("c0")
        before = reader.read()
        for number in range(1, 4):
            held.correct_while_held(f"c{number}")
        assert held.copies() == [True, True, False, False]
        reader.seek(0)
        assert reader.read() == before
    assert held.corrected() == {f"c{n}" for n in range(4)}


def test_late_lines_of_a_displaced_file_that_serves_again_are_there_once(held: Held) -> None:
    with held.path.open("a") as writer:
        held.correct("c0")
        writer.write(json.dumps(record("late")) + "\n")
    held.come_to_rest()
    held.correct_while_held("c1")
    assert held.copies() == [True, False]
    assert held.seen().keys() == held.records.keys() | {"late"}
    assert held.service.stop()
    assert held.seen().keys() == held.records.keys() | {"late"}


def test_an_edit_in_a_displaced_file_is_taken_in_and_it_does_not_serve_again(held: Held) -> None:
    with held.path.open("r+b") as writer:
        held.correct("c0")
        writer.seek(writer.read().index(b'"c5"'))
        writer.write(b'"e5"')
    held.correct_while_held("c1")
    assert held.copies() == [True, True]
    held.service.wait(5)
    held.come_to_rest()
    assert held.seen().keys() == held.records.keys() | {"e5"}


def test_an_edit_in_a_displaced_file_undoes_no_decision_that_came_since(held: Held) -> None:
    """A file that somebody may write is read as a whole only once it is let go, and by then `c5` is decided."""
    with held.path.open("r+b") as writer:
        held.correct("c0")
        held.correct("c5")
        writer.seek(writer.read().index(b"in case c5?"))
        writer.write(b"in no case!")
        writer.flush()
        held.come_to_rest()
    held.service.wait(5)
    held.come_to_rest()
    assert held.corrected() == {"c0", "c5"}
    last = held.service.ask(lambda reader: reader.history("c5"))[0]
    assert last.source is Source.EXTERNAL and "in no case!" in (last.change or "")


def test_who_appends_all_the_time_stops_no_replacement(tmp_path: Path) -> None:
    """A line comes at each sync of the copy, and between the last one and the exchange."""
    clock = SteppedClock()
    disk = BusyDisk()
    with capture_logs() as events:
        held = Held(tmp_path, clock, disk, events)
        disk.busy, disk.lines = held.path, 6
        with held.path.open("rb"):
            held.correct("c0")
        assert held.copies() == [True] and disk.lines == 0
        assert disk.made == 1, "it was put together again"
        assert held.corrected() == {"c0"}
        assert held.seen().keys() == held.records.keys() | {f"busy{n}" for n in range(6)}
        assert held.service.stop()


def test_a_copy_that_takes_long_holds_up_no_new_record_and_is_dropped_once_there_is_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppedClock()
    monkeypatch.setattr(reuse, "COPY_BYTES", 1_000)
    with capture_logs() as events:
        held = Held(tmp_path, clock, SlowDisk(), events)
        with held.path.open("rb"):
            held.service.do(lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "better c0")))
            while not list(tmp_path.glob(".*.new")):
                clock.sleep(PATIENCE_S)
                assert not held.service.round()
            made = held.service.do(lambda tx: ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")))
            assert not held.service.round()
            assert made.id in held.seen() and not held.corrected()
            assert held.service.mirror.is_copying, "the next round would rest, although the copy is not complete"
        held.come_to_rest()
        assert held.corrected() == {"c0"} and held.copies() == []
        assert not held.service.mirror.is_copying, "the rounds would never rest"
        clock.sleep(DRAFT_S)
        held.service.round()
        assert not list(tmp_path.glob(".*.new"))
        assert held.service.stop()


def test_a_mirror_that_may_write_no_more_in_the_middle_of_a_copy_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, disk = SteppedClock(), LosingDisk()
    monkeypatch.setattr(reuse, "COPY_BYTES", 1_000)
    with capture_logs() as events:
        held = Held(tmp_path, clock, disk, events)
        with held.path.open("rb"):
            held.service.do(lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "better c0")))
            while not (drafts := list(tmp_path.glob(".*.new"))):
                clock.sleep(PATIENCE_S)
                held.service.round()
            assert opened_below(tmp_path) == {held.path.name, drafts[0].name}
            disk.lost = True
            with pytest.raises(Fenced):
                held.service.round()
            held.service.crash()
            assert opened_below(tmp_path) == {held.path.name}


def test_a_file_that_was_compacted_since_does_not_serve_again(held: Held) -> None:
    held.correct_while_held("c0")
    held.service.mirror._files[File.CANDIDATES]._compact()
    held.correct_while_held("c1")
    assert held.copies() == [True, True, True]
    assert held.corrected() == {"c0", "c1"}
    assert next(iter(held.seen())) == "c0"
