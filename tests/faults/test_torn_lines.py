"""A foreign line that is torn for a while, or two that run into each other: not parsed early, and ours stay whole."""

from __future__ import annotations

import json
import time
from typing import IO

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, get
from tests.faults.load import Caller, candidates
from tests.faults.plain import read_plainly
from tests.support import Server, eventually, record, write_records

LATE = record("late", task_name="written in two halves")
TEXT = json.dumps(LATE)


@pytest.fixture
def running(victim: Server, acks: Acks) -> Server:
    write_records(victim.candidates, made := candidates(20))
    acks.add(made)
    return victim.start()


def write(file: IO[bytes], text: str) -> None:
    file.write(text.encode())
    file.flush()


def test_a_line_that_is_completed_after_a_pause_is_one_record(running: Server, acks: Acks) -> None:
    caller = Caller(acks, running.address)
    with running.candidates.open("ab") as file:
        write(file, TEXT[:100])
        assert caller.submit("correct") and caller.ingest()
        time.sleep(2)
        assert running.stats().malformed == 0 and get(running, "late") is None
        assert read_plainly(running.candidates.read_bytes()).torn == TEXT[:100].encode()
        write(file, TEXT[100:] + "\n")
    eventually(lambda: get(running, "late"))
    acks.add([LATE])
    check(acks, running)
    assert running.stats().malformed == 0


def test_a_line_that_is_given_up_counts_as_malformed_and_ours_begins_a_new_line(running: Server, acks: Acks) -> None:
    caller = Caller(acks, running.address)
    with running.candidates.open("ab") as file:
        write(file, TEXT[:100])
    assert caller.submit("correct") and caller.ingest()
    eventually(lambda: running.stats().malformed == 1)
    acks.keep_line("candidates", TEXT[:100].encode())
    check(acks, running)
    # Who completes it so late writes a second piece: both stay, neither is a record.
    with running.candidates.open("ab") as file:
        write(file, TEXT[100:] + "\n")
    acks.keep_line("candidates", TEXT[100:].encode())
    eventually(lambda: running.stats().malformed == 2)
    check(acks, running)


def test_lines_of_two_writers_that_run_into_each_other_leave_ours_whole(running: Server, acks: Acks) -> None:
    caller = Caller(acks, running.address)
    other = json.dumps(record("other"))
    with running.candidates.open("ab") as one, running.candidates.open("ab") as two:
        for file, text in ((one, TEXT[:50]), (two, other[:70]), (one, TEXT[50:] + "\n"), (two, other[70:] + "\n")):
            write(file, text)
            assert caller.submit("correct")
            time.sleep(0.3)
    acks.keep_line("candidates", (TEXT[:50] + other[:70] + TEXT[50:]).encode())
    acks.keep_line("candidates", other[70:].encode())
    eventually(lambda: running.stats().malformed == 2)
    check(acks, running)


def test_a_line_without_its_newline_is_served_once_its_writer_has_closed_it(running: Server, acks: Acks) -> None:
    with running.candidates.open("ab") as file:
        write(file, TEXT)
    eventually(lambda: get(running, "late"))
    acks.add([LATE])
    assert Caller(acks, running.address).ingest()
    check(acks, running)
    assert running.stats().malformed == 0


def test_a_torn_line_at_the_start_is_kept_as_it_is(victim: Server, acks: Acks) -> None:
    write_records(victim.candidates, made := candidates(5))
    acks.add(made)
    with victim.candidates.open("ab") as file:
        file.write(TEXT[:100].encode())
    acks.keep_line("candidates", TEXT[:100].encode())
    victim.start()
    assert Caller(acks, victim.address).submit("correct")
    check(acks, victim)
    assert victim.stats().malformed == 1
    assert victim.stop() == 0
    files_agree(acks, victim.data, within=0)
