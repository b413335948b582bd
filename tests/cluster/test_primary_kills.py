"""The only database server is killed again and again while callers change things through two servers.

CLUSTER=full goes on until 100,000 changes were acknowledged; `make test-cluster` does that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.cluster.load import Callers, assert_nothing_is_lost_or_doubled
from tests.cluster.support import ended, is_kept_in, new_server, own_postgres, soon
from tests.postgres import Postgres
from tests.support import Server

FULL = os.environ.get("CLUSTER") == "full"
KILLS, CHANGES, CALLERS = (20, 100_000, 32) if FULL else (2, 400, 8)
AWAY_S = {KILLS // 2: 0.0} | ({KILLS - 2: 33.0} if FULL else {})
"""After which kills the database stays away until health says so, and for how long then: once until calls end."""
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def own() -> Iterator[Postgres]:
    with own_postgres() as server:
        yield server


def health(server: Server) -> Any:
    with grpc.insecure_channel(server.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return stub.Check(health_pb2.HealthCheckRequest(), timeout=30).status


@pytest.mark.timeout(3_600 if FULL else 300)
def test_a_database_that_is_killed_under_load_loses_and_doubles_no_acknowledged_change(
    own: Postgres, tmp_path: Path
) -> None:
    url = own.new_database().replace("avocet@", "avocet:hunter2@")
    keeper = new_server(tmp_path / "keeper", url, keeps=True).start()
    other = new_server(tmp_path / "other", url).start()
    callers = Callers([keeper, other])
    began = time.monotonic()
    with ended(keeper, other):
        with callers.calling(CALLERS):
            for kill in range(KILLS):
                callers.wait_for((kill + 1) * CHANGES // (KILLS + 1))
                own.kill()
                if kill in AWAY_S:
                    soon(lambda: health(keeper) == health(other) == NOT_SERVING)
                    time.sleep(AWAY_S[kill])
                own.start()
                soon(lambda: health(keeper) == health(other) == SERVING)
            callers.wait_for(CHANGES)
        seconds = time.monotonic() - began
        soon(lambda: is_kept_in(url, keeper.data))
        assert callers.unreachable or not FULL
        assert_nothing_is_lost_or_doubled(callers, keeper, other)
        assert (keeper.stop(), other.stop()) == (0, 0)
        for server in (keeper, other):
            assert "the database cannot be reached" in server.log and "hunter2" not in server.log
    print(
        f"{KILLS} kills, {len(callers.acknowledged)} changes acknowledged in {seconds:.0f} s,"
        f" {callers.unreachable} times STORAGE_UNREACHABLE"
    )
