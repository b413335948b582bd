"""Programs that append and programs that read never notice that records are patched and the files swapped."""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree
from tests.faults.foreign_program import appended_record
from tests.faults.load import Caller, Load, candidates
from tests.faults.programs import Program, running
from tests.faults.support import rounds
from tests.support import Server, eventually, write_records

BASE = 400
APPENDERS = 3
READERS = 2
SWAPS = rounds(3, 200)
CHANGES = SWAPS * 25
WITHIN_S = 25 + SWAPS * 5


class InodeWatch(threading.Thread):
    """Counts how often another inode stands under the path; a stat neither opens a file nor breaks a lease."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.swaps, self.done = path, 0, threading.Event()

    def run(self) -> None:
        inode = os.stat(self.path).st_ino
        while not self.done.wait(0.004):
            found = os.stat(self.path).st_ino
            self.swaps += found != inode
            inode = found


class LagProbe(threading.Thread):
    """Corrects some candidate over and over, and looks for how long the file is behind; `lags` in seconds."""

    def __init__(self, acks: Acks, server: Server) -> None:
        super().__init__(daemon=True)
        self.acks, self.path, self.lags, self.done = acks, server.candidates, list[float](), threading.Event()
        self.caller = Caller(acks, server.address)

    def run(self) -> None:
        while not self.done.wait(0.1):
            known = self.acks.take(in_review=True)
            if known is None or not self.caller.submit("correct", known):
                continue
            acknowledged, state = time.monotonic(), known.state
            word = dict(state.fields).get("corrected_response") or ""
            while word.encode() not in self.path.read_bytes() and known.state is state:
                time.sleep(0.02)
            if known.state is state:
                self.lags.append(time.monotonic() - acknowledged)


@pytest.mark.timeout(WITHIN_S + 60)
def test_three_appenders_and_two_readers_lose_and_miss_nothing_beside_patches_and_swaps(
    victim: Server, acks: Acks
) -> None:
    path = victim.candidates
    write_records(path, base := candidates(BASE, size=600))
    acks.add(base)
    server = victim.start()
    watch, probe = InodeWatch(path), LagProbe(acks, server)
    readers = [Program(acks.seed + n, "read", path, server.approved, "--growing", path) for n in range(READERS)]
    hands = ("--hold-share", 0.15, "--hold-s", 2.0, "--pause-s", 0.3)
    appenders = [Program(acks.seed + n, "append", path, "--prefix", f"foreign{n}", *hands) for n in range(APPENDERS)]
    with running(*readers, *appenders):
        with Load(acks, server.address, threads=2, pause_s=0.03) as load:
            watch.start()
            probe.start()
            deadline = time.monotonic() + WITHIN_S
            while time.monotonic() < deadline and (watch.swaps < SWAPS or load.acknowledged < CHANGES * 1.1):
                time.sleep(0.1)
            probe.done.set()
            probe.join(timeout=30)
            written = [program.end() for program in appenders]
            acknowledged = load.acknowledged
        foreign = list(itertools.chain.from_iterable(one["ids"] for one in written))
        acks.add(appended_record(id) for id in foreign)
        eventually(lambda: server.stats().total == len(acks.known))
        check(acks, server)
        reports = [program.end() for program in readers]
    watch.done.set()
    print(
        f"{acknowledged} decisions, {max(one['blanked'] for one in reports)} blanked places seen by one reader, "
        f"{watch.swaps} swaps, {len(foreign)} foreign lines, handles held {sum(one['held'] for one in written)} times, "
        f"reads {[one['reads'] for one in reports]}, torn ends {[one['torn_ends'] for one in reports]}, "
        f"behind {statistics.median(probe.lags):.2f} s in the median, {max(probe.lags):.2f} s at most"
    )
    for report in reports:
        assert report["wrong"] == {}
        assert report["reads"] >= 5 * SWAPS
    assert watch.swaps >= SWAPS and acknowledged >= CHANGES and len(foreign) >= CHANGES / 10
    assert max(one["blanked"] for one in reports) >= CHANGES / 10
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)
