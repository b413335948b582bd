"""Many processes claim and decide while the server is killed: nobody meets, and nothing is decided twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.claim_check import violations
from tests.support import ROOT, TEAM_FULL, Server, record, write_records

CLAIMERS, CANDIDATES, KILLS = (50, 5_000, 10) if TEAM_FULL else (8, 600, 4)


def history(server: Server) -> list[pb.Change]:
    changes, token = list[pb.Change](), ""
    while True:
        page = server.stub.ListHistory(pb.ListHistoryRequest(page_size=500, page_token=token))
        changes += page.changes
        if not (token := page.next_page_token):
            return changes


@pytest.mark.timeout(3_000 if TEAM_FULL else 300)
def test_processes_that_claim_while_the_server_is_killed_never_meet(stopped_server: Server, tmp_path: Path) -> None:
    server, chance = stopped_server, random.Random(7)
    write_records(server.candidates, [record(f"c{n}") for n in range(CANDIDATES)])
    server.start()
    server.listen = server.address
    logs = [tmp_path / f"claimer-{n}.jsonl" for n in range(CLAIMERS)]
    claimers = [
        subprocess.Popen([sys.executable, "-m", "tests.faults.claimer", server.address, str(log), str(n)], cwd=ROOT)
        for n, log in enumerate(logs)
    ]
    try:
        for _ in range(KILLS):
            time.sleep(chance.uniform(2, 8) if TEAM_FULL else chance.uniform(0.5, 2))
            server.kill()
            server.start(within=60)
        assert [claimer.wait(timeout=2_000 if TEAM_FULL else 200) for claimer in claimers] == [0] * CLAIMERS
    finally:
        for claimer in claimers:
            claimer.kill()
    events: list[dict[str, Any]] = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    seen = Counter(event["event"] for event in events)
    reasons = Counter(event["reason"] for event in events if event["event"] == "decide")
    assert seen["claim"] > CANDIDATES and seen["renew"] and seen["release"]
    assert reasons[""] == CANDIDATES and reasons["CLAIM_LOST"] + reasons["NOT_IN_REVIEW"] > 0
    print(f"{CLAIMERS} processes, {KILLS} kills: {dict(seen)}; decisions: {dict(reasons)}")
    assert violations(events) == []
    decided = Counter(change.id for change in history(server) if change.action == pb.CHANGE_ACTION_FLAG)
    assert decided == {f"c{n}": 1 for n in range(CANDIDATES)}
    assert server.stats().by_status == {"model_rejected": CANDIDATES} and server.stats().claimed == 0


def event(kind: str, at: float, lease: str = "a", **more: Any) -> dict[str, Any]:
    return {"event": kind, "id": "c", "lease": lease, "began": at, "ended": at + 1, "reason": ""} | more


@pytest.mark.parametrize(
    ("events", "word"),
    [
        ([event("claim", 0, expires=10), event("claim", 5, "b", expires=20)], "handed out again"),
        ([event("claim", 0, expires=10), event("decide", 11)], "a lease that ended"),
        (
            [event("claim", 0, expires=10), event("claim", 12, "b", expires=22), event("renew", 5, expires=30),
             event("decide", 14)],
            "another one was handed out",
        ),
        ([event("claim", 0, expires=10), event("decide", 2), event("decide", 3)], "decided 2 times"),
    ],
)  # fmt: skip
def test_the_checker_sees_what_must_not_happen(events: list[dict[str, Any]], word: str) -> None:
    assert any(word in found for found in violations(events))


def test_the_checker_accepts_what_may_happen() -> None:
    events = [
        event("claim", 0, expires=10),
        event("claim", 10, "b", expires=20),
        event("decide", 12, reason="CLAIM_LOST"),
        event("release", 13, "b"),
        event("claim", 14, "d", expires=30),
        event("decide", 15, "d"),
    ]
    assert violations(events) == []
