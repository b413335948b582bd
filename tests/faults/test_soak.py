"""A long day in short: kills, appenders, readers and rewriters at random, while memory and open files stay flat."""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, get
from tests.faults.foreign_program import appended_record
from tests.faults.load import Load, candidates
from tests.faults.programs import Program, running
from tests.faults.support import WHOLE, rounds
from tests.support import Json, Server, eventually, record, write_records

BASE = 300
SOAK_S = rounds(12, 600)
EPISODE_S = 12.0 if WHOLE else 1.5
FLAT = 1.05 if WHOLE else 1.25
"""How much more memory the last third may use than the second; a short soak still warms up."""
OWN = 20


class Gauge(threading.Thread):
    """Samples the resident memory (bytes) and open files of a server's processes, as (moment, memory, files)."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.processes = [Path(f"/proc/{pid}") for pid in pids]
        self.samples, self.done = list[tuple[float, int, int]](), threading.Event()

    def run(self) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        while not self.done.wait(0.2):
            memory = sum(int((one / "statm").read_text().split()[1]) * page for one in self.processes)
            files = sum(len(os.listdir(one / "fd")) for one in self.processes)
            self.samples.append((time.monotonic(), memory, files))

    def median(self, start: float, end: float) -> tuple[float, float]:
        """Of memory and of open files, between these moments."""
        within = [sample for sample in self.samples if start <= sample[0] < end]
        assert len(within) >= 10
        return statistics.median(s[1] for s in within), statistics.median(s[2] for s in within)


class Day:
    """What happens to one server: episodes of foreign programs, and kills, beside the load that the book is kept of."""

    def __init__(self, server: Server, acks: Acks) -> None:
        self.server, self.acks, self.dice = server, acks, random.Random(acks.seed)
        self.counts = dict.fromkeys(("kills", "appended", "rewrites", "reads"), 0)
        self.edits: dict[str, str] = {}
        self.numbers = 0

    def episode(self) -> None:
        with Load(self.acks, self.server.address, threads=2, pause_s=0.02) as load:
            self.dice.choice([self.append, self.rewrite, self.append])()
            load.wait_for(20)

    def append(self) -> None:
        """Row 11: appenders and readers, handles held now and then."""
        path, self.numbers = self.server.candidates, self.numbers + 1
        hands = ("--hold-share", 0.1, "--hold-s", 1.5, "--pause-s", 0.2)
        names = [f"foreign{self.numbers}{letter}" for letter in "ab"]
        appenders = [Program(self.numbers, "append", path, "--prefix", name, *hands) for name in names]
        reader = Program(self.numbers, "read", path, self.server.approved, "--growing", path, "--pause-s", 0.1)
        with running(reader, *appenders):
            time.sleep(EPISODE_S)
            ids = [id for program in appenders for id in program.end()["ids"]]
            report = reader.end()
        assert report["wrong"] == {}
        for id in ids:
            eventually(lambda id=id: get(self.server, id))
        self.acks.add(appended_record(id) for id in ids)
        self.counts["appended"] += len(ids)
        self.counts["reads"] += report["reads"]

    def rewrite(self) -> None:
        """Row 12: stale rewrites with edits of their own."""
        self.numbers += 1
        count = int(max(1, EPISODE_S / 3))
        program = Program(self.numbers, "rewrite", self.server.candidates, "--rounds", count, "--gap-s", 2)
        with running(program):
            self.edits |= program.report(timeout=EPISODE_S + 30)["edits"]
        self.counts["rewrites"] += count
        # The next episode's program must not write over what this one wrote and the service has not seen.
        time.sleep(1.5)

    def kill(self) -> None:
        """Row 1: kill -9 in the midst, and start again."""
        with Load(self.acks, self.server.address, threads=2) as load:
            load.wait_for(20)
            self.server.kill()
        self.server.start()
        self.counts["kills"] += 1


@pytest.mark.timeout(SOAK_S + 240)
def test_memory_and_open_files_stay_flat_and_nothing_is_lost_in_a_long_day(victim: Server, acks: Acks) -> None:
    own: list[Json] = [record(f"own-{n:04d}") for n in range(OWN)]
    write_records(victim.candidates, [*(base := candidates(BASE)), *own])
    acks.add(base)
    day = Day(victim.start(), acks)
    started = time.monotonic()
    while time.monotonic() < started + SOAK_S / 3:
        day.kill()
        day.episode()
    gauge = Gauge(victim.pids)
    gauge.start()
    second = time.monotonic()
    while time.monotonic() < second + SOAK_S * 2 / 3:
        day.episode()
    gauge.done.set()
    end = time.monotonic()
    last = (second + end) / 2
    (memory, files), (memory_last, files_last) = gauge.median(second, last), gauge.median(last, end)
    print(
        f"{end - started:.0f} s: {acks.acknowledged} changes, {day.counts}; memory {memory / 1e6:.1f} MB, then "
        f"{memory_last / 1e6:.1f} MB ({memory_last / memory - 1:+.1%}); open files {files:.0f}, then {files_last:.0f}"
    )
    assert day.counts["kills"] and acks.acknowledged > 20 * day.counts["kills"]
    acks.add(one | {"task_name": day.edits.get(one["id"], one["task_name"])} for one in own)
    check(acks, victim)
    assert memory_last <= memory * FLAT
    assert files_last <= files * FLAT
    assert victim.stop() == 0
    files_agree(acks, victim.data, within=0)
