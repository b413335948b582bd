"""The keeper and another server are killed again and again while reviewers and other programs go on.

CLUSTER=full kills each 20 times; `make test-cluster` does that.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.cluster.support import ended, filled, ids, is_kept_in, keeper, new_server, soon, state
from tests.support import Server

KILLS = 20 if os.environ.get("CLUSTER") == "full" else 3
CANDIDATES = 400 * KILLS


class Reviewers:
    """They decide about one candidate after another, at whichever server answers, each under one request id."""

    def __init__(self, servers: list[Server], ids: Iterator[str]) -> None:
        self._servers, self._ids, self._lock = servers, ids, threading.Lock()
        self.approved: list[str] = []

    def next(self, seed: int) -> None:
        with self._lock:
            id = next(self._ids)
        self._ask(lambda stub, name: stub.Submit(self._decision(id, name), timeout=60), seed)
        if seed % 5 == 0:
            self._ask(lambda stub, name: stub.Undo(pb.UndoRequest(id=id, request_id=name), timeout=60), seed)
            self._ask(lambda stub, name: stub.Submit(self._decision(id, name), timeout=60), seed)
        with self._lock:
            self.approved.append(id)

    def _decision(self, id: str, name: str) -> pb.SubmitRequest:
        return pb.SubmitRequest(id=id, action=pb.ACTION_CORRECT, corrected_response="better", request_id=name)

    def _ask(self, call: Callable[[Any, str], Any], seed: int) -> None:
        name = f"{random.getrandbits(128):032x}"
        for server in itertools.islice(itertools.cycle(self._servers), seed % 2, None):
            try:
                call(server.stub, name)
                return
            except (grpc.RpcError, ValueError) as error:
                # ValueError: the channel of a server that was killed is closed.
                known = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
                if isinstance(error, grpc.RpcError) and error.code() not in known:
                    raise
                time.sleep(0.05)


class Appender:
    """Another program that appends records to the candidates file, whoever keeps it."""

    def __init__(self, path: Path) -> None:
        self._path, self.ids = path, list[str]()

    def next(self, seed: int) -> None:
        id = f"theirs-{len(self.ids)}"
        with self._path.open("a") as file:
            file.write(json.dumps({"id": id, "status": "needs_review", "prompt": f"Why {id}?"}) + "\n")
        self.ids.append(id)


@contextmanager
def under_load(*workers: tuple[Callable[[int], None], float]) -> Iterator[None]:
    """Run each step again and again in a thread of its own, with a pause; an error in one fails the test."""
    over, errors = threading.Event(), list[BaseException]()

    def run(step: Callable[[int], None], pause: float) -> None:
        try:
            for seed in itertools.count():
                if over.wait(pause):
                    return
                step(seed)
        except StopIteration:
            return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=worker, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(120)
    assert not errors and not any(thread.is_alive() for thread in threads), errors


@pytest.mark.timeout(1_800)
def test_after_kills_of_the_keeper_and_of_another_server_the_files_are_level_again_with_nothing_lost_and_nothing_twice(
    database: str, tmp_path: Path
) -> None:
    first = filled(tmp_path / "keeper", database, CANDIDATES)
    other = new_server(tmp_path / "other", database).start()
    reviewers = Reviewers([other, first], iter([f"c{n}" for n in range(CANDIDATES)]))
    appender = Appender(first.candidates)
    with ended(first, other):
        with under_load((reviewers.next, 0.02), (reviewers.next, 0.03), (appender.next, 0.1)):
            for kill in range(KILLS):
                done = len(reviewers.approved)
                soon(lambda done=done: len(reviewers.approved) > done + 10)
                first.kill()
                together = bool(kill % 2)
                if together:
                    other.kill()
                    other.start(within=60)
                first.start(within=60)
                soon(lambda: is_kept_in(database, first.data))
                if not together:
                    other.kill()
                    other.start(within=60)
        wanted = [f"c{n}" for n in range(CANDIDATES)] + appender.ids
        soon(lambda: sorted(ids(first.approved)) == sorted(reviewers.approved))
        soon(lambda: Counter(ids(first.candidates)) == Counter(wanted))
        stats = other.stats()
        assert (stats.total, stats.duplicate_ids, stats.malformed) == (len(wanted), 0, 0)
        exported = [one.id for batch in other.stub.StreamExport(pb.StreamExportRequest()) for one in batch.examples]
        assert first.stop() == 0
    assert sorted(exported) == sorted(reviewers.approved) and len(reviewers.approved) > 10 * KILLS
    assert Counter(ids(first.candidates)) == Counter(wanted)
    assert sorted(ids(first.approved)) == sorted(reviewers.approved)


@pytest.mark.timeout(600)
def test_under_load_a_release_a_take_over_and_a_clean_stop_leave_level_files(database: str, tmp_path: Path) -> None:
    first = filled(tmp_path / "first", database, 2_000)
    other = new_server(tmp_path / "other", database).start()
    new = new_server(tmp_path / "new", database, keeps=True)
    reviewers = Reviewers([other, other], iter([f"c{n}" for n in range(2_000)]))
    with ended(first, other, new):
        with under_load((reviewers.next, 0.01), (reviewers.next, 0.01)):
            soon(lambda: len(reviewers.approved) > 20)
            assert keeper("release", "--store", database).returncode == 0
            first.start() if first.stop() == 0 else None
            soon(lambda: is_kept_in(database, first.data))
            assert first.stop() == 0
            assert not state(database).is_kept
            seen = set(reviewers.approved)
            done = keeper("take-over", "--store", database, "--data-dir", str(new.data))
            assert done.returncode == 0, done.stderr
            assert seen <= set(ids(new.approved))
            new.start()
        soon(lambda: sorted(ids(new.approved)) == sorted(reviewers.approved))
        assert new.stop() == 0
