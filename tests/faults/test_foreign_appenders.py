"""Programs that append and programs that read never notice that records are patched and the files swapped."""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.amounts import rounds
from tests.faults.deciders import Decider, differences
from tests.faults.plain import read_plainly
from tests.faults.programs import Program, running
from tests.support import Server, eventually, record, write_records

SEED = 11
BASE = 400
APPENDERS = 3
READERS = 2
PATCHES = rounds(300, 5_000)
SWAPS = rounds(6, 200)
WITHIN_S = rounds(40, 460)


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
    """Decides on `probe` over and over, and looks how long the candidates file is behind; `lags` in seconds."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server, self.lags, self.done = server, list[float](), threading.Event()

    def run(self) -> None:
        for number in itertools.count():
            text = f"probed {number} times"
            self.server.correct("probe", text)
            acknowledged = time.monotonic()
            while text.encode() not in self.server.candidates.read_bytes():
                time.sleep(0.02)
            self.lags.append(time.monotonic() - acknowledged)
            self.server.stub.Undo(pb.UndoRequest(id="probe"))
            if self.done.wait(0.1):
                return


@pytest.mark.timeout(WITHIN_S + 60)
def test_three_appenders_and_two_readers_lose_and_miss_nothing_beside_patches_and_swaps(stopped_server: Server) -> None:
    path = stopped_server.candidates
    ids = [f"c{n:04d}" for n in range(BASE)]
    write_records(path, [record(id, model_response="x" * 600) for id in [*ids, "probe"]])
    server = stopped_server.start()
    watch, probe = InodeWatch(path), LagProbe(server)
    deciders = [Decider(server, ids[n::2], SEED + n, per_s=40) for n in range(2)]
    readers = [Program(SEED + n, "read", path, server.approved, "--growing", path) for n in range(READERS)]
    appenders = [
        Program(SEED + 10 + n, "append", path, "--prefix", f"foreign{n}", "--hold-share", 0.15, "--hold-s", 1.6, "--pause-s", 0.15)
        for n in range(APPENDERS)
    ]
    with running(*readers, *appenders):
        for thread in (watch, probe, *deciders):
            thread.start()
        started = time.monotonic()
        while time.monotonic() - started < WITHIN_S:
            if watch.swaps >= SWAPS and sum(decider.acknowledged for decider in deciders) >= PATCHES * 1.1:
                break
            time.sleep(0.1)
        probe.done.set()
        probe.join(timeout=30)
        for decider in deciders:
            decider.end()
        written = [program.end() for program in appenders]
        foreign = [id for one in written for id in one["ids"]]
        state = {id: each for decider in deciders for id, each in decider.state.items()}
        eventually(lambda: server.stats().total == BASE + 1 + len(foreign), within=10)
        eventually(lambda: differences(server, state) == [], within=10)
        reports = [program.end() for program in readers]
    watch.done.set()
    acknowledged = sum(decider.acknowledged for decider in deciders)
    patched = max(report["blanked"] for report in reports)
    print(
        f"seed {SEED}: {acknowledged} decisions, {patched} blanked places seen by one reader, {watch.swaps} swaps, "
        f"{len(foreign)} foreign lines, handles held {sum(one['held'] for one in written)} times, "
        f"reads {[report['reads'] for report in reports]}, torn ends {[report['torn_ends'] for report in reports]}, "
        f"lag {statistics.median(probe.lags):.2f} s in the median, {max(probe.lags):.2f} s at most"
    )
    assert [failure for decider in deciders for failure in decider.failed] == []
    assert acknowledged >= PATCHES and watch.swaps >= SWAPS and len(foreign) >= PATCHES / 10
    for report in reports:
        assert report["wrong"] == {}
        assert report["reads"] >= 50
    assert server.stop() == 0
    view = read_plainly(path.read_bytes())
    assert sorted(foreign) == sorted(id for id in view.ids.elements() if id.startswith("foreign"))
    assert differences(server, state) == []
