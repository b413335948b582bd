"""Three nodes as deploy/cluster has them: the leader is killed with its disk, again and again, while callers go on.

It needs Debian's PostgreSQL, Patroni and etcd (`make setup-cluster`), and minutes: `make test-cluster` runs it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.load import Callers, assert_nothing_is_lost_or_doubled
from tests.cluster.patroni import PASSWORD, Patroni, missing, wait_for_another
from tests.cluster.support import ended, is_kept_in, new_server, soon
from tests.support import BIN

FAILOVERS, CHANGES, CALLERS = 5, 20_000, 16
FULL = os.environ.get("CLUSTER") == "full"

pytestmark = [
    pytest.mark.skipif(not FULL, reason="a failover takes 20 s and more: CLUSTER=full runs it"),
    pytest.mark.skipif(bool(missing()), reason=f"not here: {missing()}; `make setup-cluster` installs it"),
]


@pytest.fixture
def cluster() -> Iterator[Patroni]:
    made = Patroni()
    try:
        yield made.start()
    except BaseException:
        print(made.log())
        raise
    finally:
        made.remove()


@pytest.mark.timeout(1_800)
def test_five_leaders_that_die_with_their_disks_under_load_take_no_acknowledged_change_with_them(
    cluster: Patroni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.url
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    subprocess.run([BIN / "avocet-grpc", "migrate", "--store", url], check=True)
    keeper = new_server(tmp_path / "keeper", url, keeps=True).start()
    other = new_server(tmp_path / "other", url).start()
    callers, took = Callers([keeper, other]), list[str]()
    began = time.monotonic()
    with ended(keeper, other):
        with callers.calling(CALLERS):
            for failover in range(FAILOVERS):
                callers.wait_for((failover + 1) * CHANGES // (FAILOVERS + 1))
                leader = cluster.leader()
                leader.kill()
                took.append(f"{wait_for_another(cluster, leader):.0f} s")
                callers.wait_for(len(callers.acknowledged) + 10)
                cluster.start_node(leader)
                cluster.wait_until_whole()
            callers.wait_for(CHANGES)
        seconds = time.monotonic() - began
        soon(lambda: is_kept_in(url, keeper.data))
        assert_nothing_is_lost_or_doubled(callers, keeper, other)
        assert (keeper.stop(), other.stop()) == (0, 0)
    print(
        f"{FAILOVERS} failovers ({', '.join(took)} to a new leader), {len(callers.acknowledged)} changes acknowledged"
        f" in {seconds:.0f} s, {callers.unreachable} times STORAGE_UNREACHABLE"
    )
