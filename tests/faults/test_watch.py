"""A follower that is killed and resumed many times, at a server that is killed, too, sees each change exactly once."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.test_claims import history
from tests.faults.watcher import changes_in, responses_in
from tests.support import ROOT, TEAM_FULL, Server, bearer, eventually, lines, make_run, record, write_records

KILLS, SERVER_KILLS, CHANGES = (50, 10, 20_000) if TEAM_FULL else (12, 2, 0)
"""The watcher is killed so often, the server so often, and at least so many changes are made."""
REST_EACH = 5 if TEAM_FULL else 10
"""Deletions of other programs count only once a file is still, for which the changes rest now and then."""
CANDIDATES = 60


class Actor:
    """Changes the store in every way that there is, over and over; a call that fails is left alone."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server, self.chance, self.number = server, random.Random(seed), 0
        self.stop = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Actor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        ways: list[Callable[[], object]] = [
            self.submit, self.submit, self.undo, self.undo, self.ingest, self.bring_run,
            self.append, self.edit, self.delete,
        ]  # fmt: skip
        while not self.stop.is_set():
            self.number += 1
            try:
                with self._turn:
                    self.chance.choice(ways)()
            except Exception:
                time.sleep(0.05)
            time.sleep(0.005)

    def any_id(self) -> str:
        return f"c{self.chance.randrange(CANDIDATES)}"

    def submit(self) -> object:
        return self.server.stub.Submit(pb.SubmitRequest(id=self.any_id(), action=pb.ACTION_FLAG), timeout=5)

    def undo(self) -> object:
        return self.server.stub.Undo(pb.UndoRequest(id=self.any_id()), timeout=5)

    def ingest(self) -> object:
        item = pb.IngestRequest(source="kiwi", task_type="qa", prompt="p", correction=f"c {self.number}")
        return self.server.stub.Ingest(item, metadata=bearer(), timeout=5)

    def bring_run(self) -> object:
        name = f"run-{self.number}"
        make_run(self.server.runs, name, self.chance.randint(1, 40 if TEAM_FULL else 20))
        return self.server.stub.Import(pb.ImportRequest(run_id=name), timeout=5)

    def append(self) -> None:
        with self.server.candidates.open("a") as file:
            file.write(json.dumps(record(f"foreign-{self.number}")) + "\n")

    def edit(self) -> None:
        self.rewrite(lambda one: one | {"note": self.number}, self.any_id())

    def delete(self) -> None:
        self.rewrite(lambda one: None, f"foreign-{self.chance.randrange(self.number)}")

    def delete_and_rest(self) -> None:
        """Remove lines of other programs, and wait until they count as deleted: the file must be still for that."""
        with self._turn:
            ids = [json.loads(line)["id"] for line in lines(self.server.candidates)]
            # A missing tenth would be taken for damage.
            gone = [id for id in ids if id.startswith("foreign-")][:20]
            for id in gone:
                self.rewrite(lambda one: None, id)
            # One that the service itself wrote lately is put back.
            eventually(lambda: not gone or set(gone) - {item.id for item in listed(self.server)}, within=120)

    def rewrite(self, change: Callable[[dict[str, object]], dict[str, object] | None], id: str) -> None:
        """Another program reads the whole candidates file, changes one record, and puts the file back."""
        kept = list[bytes]()
        for line in lines(self.server.candidates):
            if id.encode() not in line or (one := json.loads(line))["id"] != id:
                kept.append(line)
            elif (changed := change(one)) is not None:
                kept.append(json.dumps(changed).encode())
        new = self.server.candidates.with_name("rewritten")
        new.write_bytes(b"".join(line + b"\n" for line in kept))
        new.replace(self.server.candidates)


@pytest.mark.timeout(3_000 if TEAM_FULL else 300)
def test_a_watcher_that_is_killed_and_resumed_sees_each_change_once_and_its_copy_is_the_store(
    stopped_server: Server, tmp_path: Path
) -> None:
    server, chance, log = stopped_server, random.Random(3), tmp_path / "watch.jsonl"
    write_records(server.candidates, [record(f"c{n}") for n in range(CANDIDATES)])
    server.start()
    server.listen = server.address
    server.set_runs_directory()
    start = server.stats().revision
    copy = {item.id: item for item in listed(server)}
    killed_at = list[int]()
    with Actor(server, 5) as actor:
        while len(killed_at) < KILLS or killed_at[-1] < CHANGES:
            size = size_of(log)
            watcher = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.watcher", server.address, str(log), str(start)], cwd=ROOT
            )
            # On a busy machine it takes seconds to begin, and a kill before that tells nothing.
            eventually(lambda size=size: size_of(log) > size, within=60)
            time.sleep(chance.uniform(0, 1))
            if len(killed_at) % REST_EACH == REST_EACH - 1:
                actor.delete_and_rest()
            watcher.kill()
            watcher.wait()
            killed_at.append(len(changes_in(log)))
            if len(killed_at) in range(4, 4 + SERVER_KILLS):
                server.kill()
                server.start(within=60)
    level(server)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.watcher", server.address, str(log), str(start)], cwd=ROOT
    )
    try:
        revision = server.stats().revision
        eventually(
            lambda: responses_in(log) and responses_in(log)[-1]["revision"] >= revision, within=600 if TEAM_FULL else 60
        )
    finally:
        watcher.kill()
        watcher.wait()
    assert len(set(killed_at)) > KILLS / 2
    seen = changes_in(log)
    print(f"{len(killed_at)} kills of the watcher, {SERVER_KILLS} of the server: {len(seen)} changes")
    expected = [change for change in reversed(history(server)) if change.revision > start]
    assert [told(change) for change in seen] == [told(change) for change in expected]
    assert {change.action for change in seen} >= set(range(pb.CHANGE_ACTION_FLAG, pb.CHANGE_ACTION_REMOVE + 1))
    for change in seen:
        if not change.HasField("candidate"):
            copy.pop(change.id, None)
        elif change.candidate.revision >= copy.get(change.id, pb.Candidate()).revision:
            copy[change.id] = change.candidate
    now = {item.id: item for item in listed(server)}
    assert copy.keys() == now.keys()
    assert [id for id in now if differs(copy[id], now[id])] == []


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def told(change: pb.Change) -> tuple[int, str, int, int]:
    return change.revision, change.id, change.action, change.file


def differs(one: pb.Candidate, other: pb.Candidate) -> bool:
    """Whether two candidates are not the same, apart from what no change brings."""
    for each in (one, other):
        each.ClearField("claim")
        each.ClearField("same_prompt")
    return one != other


def level(server: Server) -> None:
    """Wait until what other programs did has been taken in."""
    last, since = server.stats().revision, time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.2)
        if (now := server.stats().revision) != last:
            last, since = now, time.monotonic()


def listed(server: Server) -> list[pb.Candidate]:
    items, token = list[pb.Candidate](), ""
    while True:
        page = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=500, page_token=token))
        items += page.items
        if not (token := page.next_page_token):
            return items
