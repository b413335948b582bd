"""SIGKILL to one process of a service under load: the others go on, and nothing is lost or there twice."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree
from tests.faults.load import UNKNOWN, Load, candidates
from tests.faults.support import rounds
from tests.support import Server, eventually, write_records

KILLED = -9
WORKERS = 2


@pytest.fixture
def several(victim: Server, acks: Acks) -> Server:
    """A service of two workers with candidates in review."""
    victim.environment = {"AVOCET_WORKERS": str(WORKERS)}
    write_records(victim.candidates, made := candidates(300))
    acks.add(made)
    victim.start().set_runs_directory()
    return victim


@pytest.mark.parametrize("role", ["mirror", "worker"])
def test_nothing_is_lost_and_calls_go_on_over_kills_of_one_process(several: Server, acks: Acks, role: str) -> None:
    dice = random.Random(acks.seed)
    supervisor = several.process.pid
    for _ in range(rounds(short=2, whole=50)):
        with Load(acks, several.address, persistent=True, runs=several.runs) as load:
            wanted = dice.randrange(20, 150)
            load.wait_for(wanted)
            killed = dice.choice(several.processes(role))
            os.kill(killed, signal.SIGKILL)
            load.wait_for(wanted + 60)
        failed = sum(load.failures(code) for code in UNKNOWN)
        assert role == "worker" or failed == 0, f"{failed} calls failed although no worker was killed"
        eventually(lambda: len(several.processes()) == WORKERS + 1 and killed not in several.processes(), within=20)  # noqa: B023
        check(acks, several)
    assert several.process.pid == supervisor and several.process.poll() is None
    assert several.log.count("it starts again") >= rounds(short=2, whole=50)
    assert several.stop() == 0
    files_agree(acks, several.data, within=0)
    check(acks, several.start(), asked=100_000)


def test_no_orphan_keeps_the_files_or_the_port_over_kills_of_the_supervisor(several: Server, acks: Acks) -> None:
    dice = random.Random(acks.seed)
    several.listen = several.address
    for _ in range(rounds(short=2, whole=50)):
        with Load(acks, several.address, runs=several.runs) as load:
            wanted = dice.randrange(20, 150)
            load.wait_for(wanted)
            orphans = several.processes()
            several.process.kill()
            assert several.ended() == KILLED
        assert load.acknowledged >= wanted and len(orphans) == WORKERS + 1
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), within=5)  # noqa: B023
        check(acks, several.start())
    assert acks.unknown > 0, "no call was under way at any kill"
    assert several.stop() == 0
    check(acks, several.start(), asked=100_000)


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
    check(acks, several.start())
    assert several.stop() == 0
