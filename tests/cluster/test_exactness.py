"""Several servers write to one database at once: revisions, pins, followers, counters and keys stay exact."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.cluster.exactness import Follower, Pin, Writers, changed, out_of_order, pin
from tests.postgres import Postgres
from tests.rpc.test_ingest import request
from tests.support import Server, queue_ids

FULL = os.environ.get("CLUSTER") == "full"
PINS, CORRECTIONS = (1_000, 3) if FULL else (60, 10)
"""Exports that are pinned, and how many corrections are written beside each."""
COPY_EXAMPLE = (
    "INSERT INTO examples (key, approved_revision, removed_revision, id, shard_hash, encoded)"
    " SELECT %(key)s, %(revision)s, removed_revision, %(id)s, shard_hash, encoded"
    " FROM examples ORDER BY number LIMIT 1"
)


@pytest.fixture(params=[2, 3, 4] if FULL else [2, 3])
def servers(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[list[Server]]:
    made = [Server(tmp_path / f"s{number}", engine="postgres") for number in range(request.param)]
    try:
        for server in made:
            server.environment["AVOCET_STORE"] = database
            server.start(within=60)
        yield made
    finally:
        for server in made:
            server.kill()


def examples_by_key(postgres: Postgres, servers: list[Server]) -> list[tuple[int, int]]:
    name = servers[0].environment["AVOCET_STORE"].rpartition("/")[2]
    return [(a, b) for a, b in postgres.execute("SELECT approved_revision, key FROM examples", name)]


@pytest.mark.timeout(3_600 if FULL else 240)
def test_pins_followers_counters_and_keys_are_exact_while_all_servers_write(
    servers: list[Server], postgres: Postgres
) -> None:
    begin = servers[0].stats().revision
    writers, pins = Writers(servers), list[Pin]()
    follower = Follower(servers[-1], begin)
    with writers.writing(threads=2):
        for number in range(PINS):
            writers.wanted.release(CORRECTIONS)
            pins.append(pin(servers[number % len(servers)], number))
            follower.look()
            assert changed(pins[-1:], servers) == []
    assert writers.errors == []
    follower.look()
    assert changed(pins, servers) == []
    assert len({one.revision for one in pins}) > PINS / 3, "the servers wrote while exports were pinned"

    kept = set(writers.acknowledged) - writers.undone
    assert len(set(writers.acknowledged)) == len(writers.acknowledged)
    assert kept <= set(follower.seen) <= set(writers.acknowledged)
    assert len(follower.seen) == len(set(follower.seen))
    stats = [server.stats() for server in servers]
    assert all(one == stats[0] for one in stats)
    assert (stats[0].total, stats[0].export_ready) == (len(writers.acknowledged), len(kept))
    assert set(queue_ids(servers[0], per_page=500)) == writers.undone
    for kind in ("t0", "t1", "t2"):
        chosen = pb.CandidateFilter(task_types=[kind])
        sent = servers[0].stub.StreamExport(pb.StreamExportRequest(filter=chosen))
        counted = servers[0].stub.Stats(pb.StatsRequest(filter=chosen))
        assert counted.export_ready == sum(len(answer.examples) for answer in sent)
    watched: list[str] = []
    watch = servers[-1].stub.Watch(pb.WatchRequest(since_revision=begin), timeout=120)
    wanted = len(writers.acknowledged) + len(writers.undone)
    while len(watched) < wanted:
        watched += [change.id for change in next(watch).changes]
    watch.cancel()
    assert sorted(watched) == sorted([*writers.acknowledged, *writers.undone])
    assert out_of_order(examples_by_key(postgres, servers)) == 0


class WithoutLock(threading.Thread):
    """Writes examples as a service would that takes revisions from a sequence and locks nothing."""

    def __init__(self, url: str, stop: threading.Event) -> None:
        super().__init__()
        self._url, self._stop_now = url, stop
        self.written: list[str] = []

    def run(self) -> None:
        with psycopg.connect(self._url) as db:
            while not self._stop_now.is_set():
                id = secrets.token_hex(8)
                row = db.execute("SELECT nextval('loose')").fetchone()
                assert row is not None
                revision = int(row[0])
                db.execute(COPY_EXAMPLE, {"key": revision, "revision": revision, "id": id})
                time.sleep(random.uniform(0, 0.05))
                db.execute("UPDATE head SET revision = greatest(revision, %s)", [revision])
                db.commit()
                self.written.append(id)


@pytest.mark.timeout(240)
def test_the_same_checks_catch_revisions_that_are_given_without_the_lock(
    servers: list[Server], postgres: Postgres
) -> None:
    servers[0].ingest(request())
    begin = servers[0].stats().revision
    url = servers[0].environment["AVOCET_STORE"]
    postgres.execute(f"CREATE SEQUENCE loose START {begin + 1}", url.rpartition("/")[2])
    stop = threading.Event()
    writers = [WithoutLock(url, stop) for _ in range(4)]
    follower, pins = Follower(servers[-1], begin), list[Pin]()
    for writer in writers:
        writer.start()
    try:
        deadline = time.monotonic() + 60
        while len(pins) < 40 or (not changed(pins, servers) and time.monotonic() < deadline):
            pins.append(pin(servers[0], len(pins)))
            follower.look()
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    follower.look()
    written = {id for writer in writers for id in writer.written}
    assert changed(pins, servers) != []
    assert len(written - set(follower.seen)) > 0
