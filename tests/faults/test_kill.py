"""SIGKILL at random moments, at each named failpoint, and during recovery, three deep."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import grpc
import pytest

from avocet_grpc.core.model import File
from avocet_grpc.store.sqlite.inspect import contents
from avocet_grpc.telemetry import failpoints
from tests.faults.acks import Acks
from tests.faults.check import check, get
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, rounds
from tests.support import ROOT, Json, Server, eventually, record, records, write_records

KILLED = -9


def prepare(server: Server, acks: Acks, count: int = 300) -> None:
    """Candidates in review before the first start."""
    write_records(server.candidates, made := candidates(count))
    acks.add(made)


def append_by_hand(server: Server, acks: Acks) -> None:
    """Another program appends a record, and the service has seen it."""
    made = record(acks.name("foreign"), source="dashboard")
    with server.candidates.open("ab", buffering=0) as file:
        file.write(json.dumps(made).encode() + b"\n")
    eventually(lambda: get(server, made["id"]))
    acks.add([made])


def die_starting(server: Server, acks: Acks, name: str) -> bool:
    """A start that ends at this failpoint; True if that was before it served.

    If what the kill before left needs no such step, callers bring the service there.
    """
    server.environment = {failpoints.VARIABLE: f"{name}:kill"}
    try:
        server.start()
    except RuntimeError:
        served = False
    else:
        served = True
        with Load(acks, server.address):
            eventually(lambda: server.process.poll() is not None, within=60)
    server.environment = {}
    assert server.ended(within=60) == KILLED
    return not served


def test_nothing_acknowledged_is_lost_or_there_twice_over_kills_at_random_moments(victim: Server, acks: Acks) -> None:
    prepare(victim, acks)
    dice = random.Random(acks.seed)
    victim.start().set_runs_directory()
    for number in range(rounds(short=2, whole=200)):
        with Load(acks, victim.address, runs=victim.runs) as load:
            if number % 4 == 0:
                append_by_hand(victim, acks)
            wanted = dice.randrange(20, 150)
            load.wait_for(wanted)
            victim.process.kill()
            assert victim.ended() == KILLED
        assert load.acknowledged >= wanted
        check(acks, victim.start())
    assert acks.unknown > 0, "no call was under way at any kill"
    assert victim.stop() == 0
    check(acks, victim.start(), asked=100_000)


HITS = {"commit": 40, "append": 12, "patch": 16, "patch.blanked": 30, "replace": 1, "drain": 1, "reuse": 1, "import": 6}
"""At which hit of a failpoint, or of one of its group, the process is killed: after enough acknowledgements."""


SHORT = ("commit.before", "patch.appended", "replace.exchanged")


@pytest.mark.parametrize("name", failpoints.NAMES if WHOLE else SHORT)
def test_nothing_is_lost_by_a_kill_at_the_failpoint(victim: Server, acks: Acks, name: str) -> None:
    prepare(victim, acks, 100)
    victim.environment = {failpoints.VARIABLE: f"{name}:kill:{HITS.get(name) or HITS[name.partition('.')[0]]}"}
    victim.start()
    victim.environment = {}
    with Load(acks, victim.address, threads=2, pause_s=0.01) as load:
        foreign = drive_to_the_end(victim, acks, load)
        code = victim.ended(within=60)
    assert code == KILLED, f"the failpoint was never reached: exit {code}"
    assert load.acknowledged >= 20
    victim.start()
    eventually(lambda: all(get(victim, one["id"]) for one in foreign))
    acks.add(foreign)
    check(acks, victim, asked=1_000)
    assert victim.stop() == 0
    check(acks, victim.start(), asked=1_000)


def drive_to_the_end(server: Server, acks: Acks, load: Load) -> list[Json]:
    """Take a server by every failpoint: decisions, others' lines, two writers in turn who keep the file open over a
    swap and add a line to the displaced file, which serves again for the second, and a stop.

    Gives the records of others; the server may end at any point.
    """
    process = server.process
    eventually(lambda: load.acknowledged >= 80 or process.poll() is not None, within=30)
    foreign = [record(acks.name("foreign"), source="dashboard") for _ in range(8)]
    for content in foreign[2:]:
        with server.candidates.open("ab", buffering=0) as file:
            file.write(json.dumps(content).encode() + b"\n")
        time.sleep(0.3 if process.poll() is None else 0)
    for late in foreign[:2]:
        with server.candidates.open("ab", buffering=0) as held:
            inode = os.fstat(held.fileno()).st_ino
            eventually(lambda: server.candidates.stat().st_ino != inode or process.poll() is not None)  # noqa: B023
            held.write(json.dumps(late).encode() + b"\n")
        eventually(lambda: process.poll() is not None or is_served(server, late["id"]))  # noqa: B023
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    return foreign


def is_served(server: Server, id: str) -> bool:
    """False too where the server ends meanwhile."""
    try:
        return bool(get(server, id))
    except grpc.RpcError:
        return False


def test_each_failpoint_is_somewhere_in_the_code_and_no_other() -> None:
    code = "".join(path.read_text() for path in (ROOT / "avocet_grpc").rglob("*.py"))
    assert sorted(set(re.findall(r'failpoints\.hit\("([^"]+)"\)', code))) == sorted(failpoints.NAMES)


def test_half_a_line_that_a_kill_left_of_ours_is_gone_after_the_next_start(victim: Server, acks: Acks) -> None:
    """The kernel cuts a long write of a process that is killed, so a line of ours may end anywhere."""
    prepare(victim, acks, 100)
    for share in (0.2, 0.6, 0.99) if WHOLE else (0.6,):
        victim.environment = {failpoints.VARIABLE: "append.before:kill:4"}
        victim.start()
        with Load(acks, victim.address, threads=2) as load:
            assert victim.ended(within=60) == KILLED
        assert load.acknowledged >= 1
        victim.environment = {}
        for file, path in ((File.CANDIDATES, victim.candidates), (File.APPROVED, victim.approved)):
            leave_half_a_line(victim, file, path, share)
        check(acks, victim.start())
        assert victim.stats().malformed == 0
        victim.kill()


def leave_half_a_line(server: Server, file: File, path: Path, share: float) -> None:
    """What a write of the first line that waits for this file leaves when it is cut there."""
    known = {content["id"] for content in records(path)}
    waiting = contents(server.data / ".avocet" / "ledger.db").pending[file]
    lacking = (one.raw for one in waiting if one.raw is not None and one.id not in known)
    raw = next(lacking, b"")
    with path.open("ab") as out:
        out.write(raw[: int(len(raw) * share)])


RECOVERY = ("import.before", "commit.before", "import.after", "patch.before", "patch.appended", "append.before")
DEPTH = 3


def test_nothing_is_lost_by_kills_during_recovery_three_deep(victim: Server, acks: Acks) -> None:
    prepare(victim, acks)
    dice = random.Random(acks.seed)
    in_recovery, count = 0, rounds(short=1, whole=40)
    for _ in range(count):
        # While a program holds the file, what the reused copy must bring waits: each place has something to recover.
        name, holder = dice.choice(
            [("patch.appended:kill:5", Path(os.devnull)), ("append.before:kill:5", victim.candidates)]
        )
        victim.environment = {failpoints.VARIABLE: name}
        victim.start()
        with holder.open("rb"), Load(acks, victim.address) as load:
            assert victim.ended(within=60) == KILLED
        assert load.acknowledged >= 5
        # What waits for the approved file is written last: behind it nothing is left to patch.
        for name in sorted(dice.sample(RECOVERY, DEPTH), key=lambda name: name == "append.before"):
            in_recovery += die_starting(victim, acks, name)
        check(acks, victim.start())
        victim.kill()
    assert in_recovery > DEPTH * count / 2, f"only {in_recovery} kills came before it served"
