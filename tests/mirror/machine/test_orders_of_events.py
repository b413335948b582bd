"""Orders of events that were found to matter, by the machine of `test_state_machine.py`; each is there on its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from avocet_grpc.core.model import Action, File
from avocet_grpc.mirror.fs.lease import ignore_sigio
from tests.mirror.machine.model import lines_of
from tests.mirror.machine.test_state_machine import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    """One whose events a test chooses itself."""
    ignore_sigio()
    made = Machine()
    yield made
    made.teardown()


def test_a_cut_at_the_end_of_a_line_is_damage_though_a_decision_waits_for_another_line(machine: Machine) -> None:
    machine.begin(count=3)
    machine.wait_long()
    machine.submit(pick=0, action=Action.DISCARD, reviewer="", remembered=False)
    path = machine.paths[File.CANDIDATES]
    os.truncate(path, path.read_bytes().rindex(b'{"id"'))
    assert len(lines_of(path.read_bytes())) == 2
    machine.touched[File.CANDIDATES] = True
    machine.come_to_rest()


def test_a_record_behind_blanks_that_a_rewrite_leaves_out_is_deleted_and_no_damage(machine: Machine) -> None:
    """Once the blanks are gone too, where it stood lies behind the end, as if the file had been cut there."""
    machine.begin(count=12)
    for pick in (0, 1):
        machine.submit(pick=pick, action=Action.DISCARD, reviewer="", remembered=False)
    machine.wait_long()
    machine.rewrite(file=File.CANDIDATES, edit=None, delete=10, add=False, replace=False, new_status="")
    machine.come_to_rest()


def test_half_a_line_that_was_taken_for_malformed_is_so_after_a_crash_although_the_whole_waits(
    machine: Machine,
) -> None:
    machine.begin(count=2)
    machine.wait_long()
    machine.damage(file=File.CANDIDATES, share=0.3)
    machine.hold(file=File.CANDIDATES)
    for at in range(40):
        machine.crash(at=[at, at], first_round=True)
    machine.come_to_rest()


def test_what_a_kill_left_in_the_middle_of_a_change_is_gone_once_it_serves(machine: Machine) -> None:
    machine.begin(count=2)
    for at in range(12):
        machine.submit(pick=at, action=Action.CORRECT, reviewer="", remembered=False)
        machine.crash(at=[at], first_round=True)
        machine.a_plain_reader_sees_whole_records_none_missing_and_none_twice()
        machine.come_to_rest()
        machine.undo(pick=at)


def test_a_file_that_is_deleted_while_it_holds_nothing_is_there_again(machine: Machine) -> None:
    machine.begin(count=1)
    machine.paths[File.APPROVED].unlink()
    machine.come_to_rest()
    assert machine.paths[File.APPROVED].read_bytes() == b""


def test_a_second_line_of_an_id_in_a_displaced_file_is_not_taken_for_an_edit_of_its_record(machine: Machine) -> None:
    machine.begin(count=3)
    machine.append(file=File.CANDIDATES, kind="again", pick=1)
    machine.stop_and_start(delete_ledger=True)
    machine.wait_long()
    machine.damage(file=File.CANDIDATES, share=0.3)
    machine.stop_and_start(delete_ledger=False)
    assert machine.model.candidates.kept
