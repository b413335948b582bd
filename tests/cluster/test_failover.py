"""The primary is killed again and again, and its standby takes over, while callers go on.

CLUSTER=full fails over five times under 50,000 changes; `make test-cluster` does that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.load import Callers, Judged, assert_nothing_is_lost_or_doubled
from tests.cluster.support import WITHIN, ended, is_kept_in, new_server, own_postgres, soon
from tests.ledger_suite import encode
from tests.postgres import Postgres, binaries

FULL = os.environ.get("CLUSTER") == "full"
FAILOVERS, CHANGES, CALLERS = (5, 50_000, 32) if FULL else (1, 300, 8)
JUMP = 1_000_000
"""After a failover revisions go on so far beyond the last one that the store still knows."""


class Pair:
    """A primary and a standby. What has failed is replaced by a new standby at the same port."""

    def __init__(self, primary: Postgres, *, synchronous: bool) -> None:
        self._synchronous = synchronous
        self._name = primary.new_database().rpartition("/")[2]
        self.primary = primary
        if synchronous:
            # A standby is a copy, with this setting in it.
            primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.standby = self._new_standby()
        primary.execute("SELECT pg_reload_conf()")
        self._wait_for_standby()
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in (primary, self.standby))
        self.url = f"postgres://avocet@{hosts}/{self._name}"

    def fail_over(self) -> None:
        """Kill the primary, promote the standby, and give it a standby of its own."""
        port = self.primary.port
        self.primary.kill()
        self.primary.remove()
        self.primary = self.standby
        assert self.primary.execute(f"SELECT pg_promote(true, {WITHIN:.0f})") == [(True,)]
        self.standby = self._new_standby(port)
        self._wait_for_standby()

    def cut(self) -> None:
        """Let nothing more reach the standby."""
        ((self._way,),) = self.standby.execute("SHOW primary_conninfo")
        self.standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.execute("SELECT pg_reload_conf()")
        soon(lambda: self._standbys() == 0)

    def join(self) -> None:
        """Undo `cut`."""
        way = self._way.replace("'", "''")
        self.standby.execute(f"ALTER SYSTEM SET primary_conninfo = '{way}'")
        self.standby.execute("SELECT pg_reload_conf()")

    def waiting(self) -> list[int]:
        """The processes of the primary whose commit waits for the standby."""
        query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'avocet-grpc'"
        return [pid for (pid,) in self.primary.execute(query)]

    def remove(self) -> None:
        self.standby.remove()
        self.primary.remove()

    def _new_standby(self, port: int = 0) -> Postgres:
        programs = binaries()
        assert programs is not None
        standby = Postgres(programs, standby_of=self.primary)
        standby.port = port or standby.port
        standby.start()
        return standby

    def _wait_for_standby(self) -> None:
        soon(lambda: self._standbys() == 1)

    def _standbys(self) -> int:
        state = "sync" if self._synchronous else "async"
        count = f"SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '{state}'"
        return int(self.primary.execute(count)[0][0])


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with own_postgres() as primary:
        made = Pair(primary, synchronous=request.param)
        try:
            yield made
        finally:
            made.remove()


@pytest.mark.timeout(3_600 if FULL else 300)
@pytest.mark.parametrize("pair", [True], indirect=True, ids=["synchronous"])
def test_a_failover_to_a_synchronous_standby_under_load_loses_and_doubles_nothing(pair: Pair, tmp_path: Path) -> None:
    keeper = new_server(tmp_path / "keeper", pair.url, keeps=True).start()
    other = new_server(tmp_path / "other", pair.url).start()
    callers = Callers([keeper, other])
    began = time.monotonic()
    with ended(keeper, other):
        assert not any("no synchronous standby" in server.log for server in (keeper, other))
        with callers.calling(CALLERS):
            for failover in range(FAILOVERS):
                callers.wait_for((failover + 1) * CHANGES // (FAILOVERS + 1))
                before = other.stats().revision
                pair.fail_over()
                soon(lambda before=before: other.stats().revision > before + JUMP)
            callers.wait_for(CHANGES)
        seconds = time.monotonic() - began
        soon(lambda: is_kept_in(pair.url, keeper.data))
        assert_nothing_is_lost_or_doubled(callers, keeper, other)
        assert (keeper.stop(), other.stop()) == (0, 0)
    print(
        f"{FAILOVERS} failovers, {len(callers.acknowledged)} changes acknowledged in {seconds:.0f} s,"
        f" {callers.unreachable} times STORAGE_UNREACHABLE"
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pair", [True], indirect=True, ids=["synchronous"])
def test_a_commit_that_is_ended_while_it_waits_for_the_standby_is_acknowledged_once_the_standby_has_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avocet_grpc.store.postgres import reach
    from avocet_grpc.store.postgres.engine import PostgresLedger

    monkeypatch.setattr(reach, "WAIT_S", 4 * WITHIN)
    ledger = PostgresLedger(pair.url, encode)
    try:
        before = ledger.write(lambda tx: tx.new_revision()).result(WITHIN)
        told = list[int]()
        ledger.on_full(lambda: told.append(1))
        pair.cut()
        changed, over = ledger.write(lambda tx: tx.new_revision()), set[int]()
        for _ in range(3):
            waiting = soon(lambda: set(pair.waiting()) - over)
            assert not changed.done()
            for pid in waiting:
                # The database stores the change here then, and shows it to everybody.
                pair.primary.execute(f"SELECT pg_terminate_backend({pid})")
            over.update(waiting)
        # Writes do not serve, and reads do.
        soon(lambda: told)
        soon(lambda: set(pair.waiting()) - over)
        assert not changed.done()
        assert ledger.read(lambda reader: reader.revision()) == before + 1
        pair.join()
        assert changed.result(WITHIN) == before + 1
    finally:
        pair.join()
        ledger.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pair", [False], indirect=True, ids=["asynchronous"])
def test_the_same_checks_see_what_an_asynchronous_standby_loses_and_its_revisions_never_come_again(
    pair: Pair, tmp_path: Path
) -> None:
    one, two = (new_server(tmp_path / name, pair.url).start() for name in ("one", "two"))
    callers = Callers([one, two])
    with ended(one, two):
        soon(lambda: "no synchronous standby" in one.log)
        with callers.calling(CALLERS):
            callers.wait_for(100)
            pair.cut()
            callers.wait_for(len(callers.acknowledged) + 100)
            before = one.stats().revision
            pair.fail_over()
            # Now a call about a candidate that is lost may be refused.
            soon(lambda: one.stats().revision > before + JUMP // 2)
        judged = Judged.of(callers, two)
    assert len(judged.lost) >= 100
