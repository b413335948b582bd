"""The machine's clock is set while the service runs: nothing acknowledged is lost, and no revision goes back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.layout import DataDirectory
from tests.faults.support import need, rounds
from tests.support import Server, eventually, failure_of, record, records, write_records

STEPS = [3 * 3600, -3 * 3600, 600, -600, 90, -90, 30 * 86400, -30 * 86400]
"""Seconds by which the clock is set on, or back."""


class SteppedClock:
    """The wall clock of the server's processes; that which only goes on is left alone."""

    def __init__(self, server: Server, directory: Path) -> None:
        library, self._file = directory / "clock.so", directory / "clock"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True, timeout=60)
        self.ahead = 0
        self._file.write_bytes(struct.pack("=q", 0))
        server.environment |= {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}

    def step(self, seconds: int) -> None:
        self.ahead += seconds
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", self.ahead))

    def stamp(self, path: Path) -> None:
        """Give a file that another program has just written the time of this clock."""
        now = time.time() + self.ahead
        os.utime(path, (now, now))


@pytest.fixture
def stepped(stopped_server: Server, tmp_path: Path) -> tuple[Server, SteppedClock]:
    need("gcc")
    clock = SteppedClock(stopped_server, tmp_path)
    write_records(stopped_server.candidates, [record(f"c{n:03}") for n in range(200)])
    stopped_server.start(within=100)
    return stopped_server, clock


def rewrite(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    """As the legacy program does: all of it is read, one thing changed, and all of it written in place."""
    contents = records(path)
    for content in contents:
        change(content)
    path.write_text("".join(json.dumps(content) + "\n" for content in contents))


def test_steps_of_minutes_and_hours_lose_nothing_while_another_program_rewrites_the_files(
    stepped: tuple[Server, SteppedClock],
) -> None:
    server, clock = stepped
    decided, revision = dict[str, str](), server.stats().revision
    for number, seconds in enumerate(STEPS[: rounds(4, len(STEPS))]):
        first, second, edited = (f"c{number * 3 + at:03}" for at in range(3))
        stale = server.candidates.read_bytes()
        for id, text in ((first, "before the step"), (second, "after it")):
            answer = server.stub.Submit(
                pb.SubmitRequest(id=id, action=pb.ACTION_CORRECT, corrected_response=text), timeout=60
            )
            assert answer.candidate.revision > revision
            revision, decided[id] = answer.candidate.revision, text
            at = datetime.fromisoformat(answer.candidate.reviewed_at).timestamp()
            assert abs(at - time.time() - clock.ahead) < 60, "the server has another clock"
            if id == first:
                clock.step(seconds)
        # What a program that read the file before both decisions writes back.
        server.candidates.write_bytes(stale)
        clock.stamp(server.candidates)
        eventually(lambda: approved_ids(server) >= set(decided) or None, within=90)
        rewrite(server.candidates, lambda one, id=edited: one.update(task_name="by hand") if one["id"] == id else None)
        clock.stamp(server.candidates)
        eventually(lambda id=edited: get(server, id).task_name == "by hand" or None, within=90)
        assert server.stats().revision > revision
    ids = {one["id"] for one in records(server.candidates)}
    assert ids == {f"c{n:03}" for n in range(200)}
    for id, text in decided.items():
        assert get(server, id).corrected_response == text
    assert server.stop() == 0
    assert approved_ids(server) >= set(decided)
    clock.step(-7 * 86_400)
    shutil.rmtree(server.data / ".avocet")
    server.start(within=100)
    assert server.stats().revision > revision


def test_claims_end_by_the_servers_clock_and_a_step_back_only_makes_them_longer(
    stepped: tuple[Server, SteppedClock],
) -> None:
    server, clock = stepped
    request = pb.ClaimRequest(reviewer="ana", lease_seconds=600)
    first = server.stub.Claim(request, timeout=60).claims[0]
    clock.step(-3_600)
    assert server.stub.RenewClaims(pb.RenewClaimsRequest(lease_ids=[first.lease_id]), timeout=60).claims
    clock.step(3_600 + 1_200)
    decide = pb.SubmitRequest(id=first.candidate.id, action=pb.ACTION_FLAG, lease_id=first.lease_id)
    assert failure_of(lambda: server.stub.Submit(decide, timeout=60)).reason == "CLAIM_LOST"
    again = server.stub.Claim(pb.ClaimRequest(reviewer="ben"), timeout=60).claims[0]
    assert again.candidate.id == first.candidate.id


def test_a_step_on_makes_no_history_older_and_a_step_back_holds_no_pruning_up(
    stopped_server: Server, tmp_path: Path
) -> None:
    need("gcc")
    server, clock = stopped_server, SteppedClock(stopped_server, tmp_path)
    write_records(server.candidates, [record(f"c{n}") for n in range(4)])
    kept = 500
    server.environment |= {"AVOCET_KEEP_HISTORY": str(kept / 86_400), "AVOCET_KEEP_REVISIONS": "0"}
    server.start(within=100)
    began = time.monotonic()
    request = pb.SubmitRequest(id="c0", action=pb.ACTION_FLAG, request_id="r")
    first = server.stub.Submit(request, timeout=60)
    noted = numbers(server, "SELECT max(revision) FROM moments")
    for id in ("c1", "c2"):
        server.correct(id)
        eventually(lambda before=noted: numbers(server, "SELECT max(revision) FROM moments") != before, within=120)
        noted = numbers(server, "SELECT max(revision) FROM moments")
    for seconds in (400 * 86_400, -400 * 86_400):
        clock.step(seconds)
        eventually(lambda: abs(started_at(server) - time.time() - clock.ahead + uptime()) < 60, within=120)
        changes = server.stub.ListHistory(pb.ListHistoryRequest(), timeout=60).changes
        if time.monotonic() - began < kept:
            assert [change.id for change in changes] == ["c2", "c1", "c0"]
        assert server.stub.Submit(request, timeout=60).candidate.revision == first.candidate.revision
    assert numbers(server, "SELECT max(at) FROM moments") < time.time() + 60


def numbers(server: Server, query: str) -> float:
    """The one number that a query of the ledger gives, 0 for none."""
    path = DataDirectory(server.data).ledger
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)) as ledger:
        row = ledger.execute(query).fetchone()
    return float(row[0] or 0) if row else 0.0


def started_at(server: Server) -> float:
    return numbers(server, "SELECT value FROM meta WHERE name = 'machine_started_at'")


def uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def get(server: Server, id: str) -> pb.Candidate:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id), timeout=60).candidate


def approved_ids(server: Server) -> set[str]:
    return {one["id"] for one in records(server.candidates) if one["status"] == "approved"}
