"""SIGKILL to one process of a service under load: the others go on, and nothing is lost or there twice."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import QUIET_S, check, files_agree, get
from tests.faults.foreign_program import appended_record
from tests.faults.load import UNKNOWN, Load, candidates
from tests.faults.programs import Program, running
from tests.faults.support import rounds
from tests.support import Server, eventually, record, write_records

KILLED = -9
WORKERS = 2
LATE = 100
"""Records that another program appended last, which are waited for."""
OWN = [record(f"own-{number:04d}") for number in range(3)]
"""Records that another program edits, and that nobody decides on."""


@contextmanager
def another_program(server: Server, acks: Acks, number: int) -> Iterator[None]:
    """In turn, one that appends and one that rewrites the file, with edits. Two at once may lose each other's lines."""
    if number % 2 == 0:
        program = Program(acks.seed, "append", server.candidates, "--prefix", f"other{number}", "--hold-share", 0.2)
    else:
        program = Program(acks.seed, "rewrite", server.candidates, "--rounds", len(OWN), "--gap-s", 0.3)
    with running(program):
        yield
        if number % 2 == 0:
            appended = program.end()["ids"]
            assert appended, "the other program did nothing"
            acks.add(appended_record(id) for id in appended)
        else:
            assert len(program.report(timeout=30)["edits"]) == len(OWN)


def check_all(acks: Acks, server: Server, number: int, asked: int = 300) -> None:
    """`check`, with the records on which nobody decides: they are edited from the second round on."""
    acks.add(OWN)
    # A mirror that has just been started again reads first what others wrote meanwhile. What the other program wrote
    # into a file that was replaced while it held it may come after what it wrote later, into the new one.
    for id in [id for id in acks.known if id.startswith("other")][-LATE:]:
        eventually(lambda: get(server, id) is not None, within=QUIET_S)  # noqa: B023
    for at, one in enumerate(OWN if number else ()):
        acks.edit(one["id"], task_name=f"edit {at}")
    check(acks, server, asked)
    for one in OWN:
        acks.drop(one["id"])


@pytest.fixture
def several(victim: Server, acks: Acks) -> Server:
    """A service of two workers with candidates in review."""
    victim.environment = {"AVOCET_WORKERS": str(WORKERS)}
    write_records(victim.candidates, [*(made := candidates(300)), *OWN])
    acks.add(made)
    victim.start().set_runs_directory()
    return victim


@pytest.mark.parametrize("role", ["mirror", "worker"])
def test_nothing_is_lost_and_calls_go_on_over_kills_of_one_process(several: Server, acks: Acks, role: str) -> None:
    dice = random.Random(acks.seed)
    supervisor = several.process.pid
    for number in range(count := rounds(short=2, whole=50)):
        with (
            another_program(several, acks, number),
            Load(acks, several.address, persistent=True, runs=several.runs) as load,
        ):
            wanted = dice.randrange(20, 150)
            load.wait_for(wanted)
            killed = dice.choice(several.processes(role))
            os.kill(killed, signal.SIGKILL)
            load.wait_for(wanted + 60)
        failed = sum(load.failures(code) for code in UNKNOWN)
        assert role == "worker" or failed == 0, f"{failed} calls failed although no worker was killed"
        eventually(lambda: len(several.processes()) == WORKERS + 1 and killed not in several.processes())  # noqa: B023
        check_all(acks, several, number)
    assert several.process.pid == supervisor and several.process.poll() is None
    eventually(lambda: several.log.count("it starts again") >= count)
    assert several.stop() == 0
    check_all(acks, several.start(), count - 1, asked=100_000)


def test_no_orphan_keeps_the_files_or_the_port_over_kills_of_the_supervisor(several: Server, acks: Acks) -> None:
    dice = random.Random(acks.seed)
    several.listen = several.address
    for number in range(count := rounds(short=2, whole=50)):
        with another_program(several, acks, number), Load(acks, several.address, runs=several.runs) as load:
            wanted = dice.randrange(20, 150)
            load.wait_for(wanted)
            orphans = several.processes()
            several.process.kill()
            assert several.ended() == KILLED
        assert load.acknowledged >= wanted and len(orphans) == WORKERS + 1
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))  # noqa: B023
        check_all(acks, several.start(), number)
    assert acks.unknown > 0, "no call was under way at any kill"
    assert several.stop() == 0
    check_all(acks, several.start(), count - 1, asked=100_000)


def test_a_mirror_that_is_dead_at_a_stop_is_started_once_more_and_brings_the_files_level(
    several: Server, acks: Acks
) -> None:
    with Load(acks, several.address) as load:
        load.wait_for(60)
    (mirror,) = several.processes("mirror")
    # It cannot be restarted before the stop begins: the signal comes first.
    os.kill(mirror, signal.SIGSTOP)
    with Load(acks, several.address) as load:
        load.wait_for(60)
    os.kill(mirror, signal.SIGKILL)
    several.process.send_signal(signal.SIGTERM)
    assert several.ended(within=60) == 0
    acks.add(OWN)
    files_agree(acks, several.data, within=0)


def test_a_stop_without_a_living_mirror_does_not_exit_0(several: Server, acks: Acks) -> None:
    (mirror,) = several.processes("mirror")
    os.kill(mirror, signal.SIGSTOP)
    with Load(acks, several.address) as load:
        load.wait_for(60)
    os.kill(several.process.pid, signal.SIGSTOP)
    os.kill(mirror, signal.SIGKILL)
    # The one that takes its place cannot read the files, so it cannot start.
    aside = several.candidates.rename(several.directory / "aside")
    several.candidates.mkdir()
    several.process.send_signal(signal.SIGTERM)
    os.kill(several.process.pid, signal.SIGCONT)
    assert several.ended(within=60) == 4
    assert "start and stop again" in several.log
    several.candidates.rmdir()
    aside.rename(several.candidates)
    check_all(acks, several.start(), 0)
    assert several.stop() == 0
