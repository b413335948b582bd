"""What the ledger does while its database refuses: by SQLSTATE, and with real ones that are full or let nobody in."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("psycopg")

import psycopg

from avocet_grpc.core import ingest
from avocet_grpc.core.errors import Overloaded, StorageFull, StorageUnreachable
from avocet_grpc.core.model import CandidateFilter, Correction
from avocet_grpc.store.postgres import connect, reach
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.failure import Meaning, meaning, refusal
from tests.cluster.support import own_postgres
from tests.faults.support import mounted, need, run
from tests.ledger_suite import encode
from tests.postgres import TEMPLATE, Postgres
from tests.support import eventually

ALL = CandidateFilter()
AT_COMMIT = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
WITHIN = 60.0
STATES = {
    Meaning.AGAIN: ["40001", "40P01"],
    Meaning.LOST: [
        *["08000", "08001", "08003", "08004", "08006", "08007", "08P01"],
        *["57P01", "57P02", "57P03", "57P04", "57P05", "25006", "25P03", "25P04", "28000", "28P01"],
        *["58030", "XX001", "XX002"],
    ],
    Meaning.REFUSED: ["53100", "53000", "53200", "53300", "55P03", "57014"],
    Meaning.WORK: ["22012", "22021", "23505", "42P01", "42601", "22P05", "54000", "0A000", "XX000"],
}


def raised(sqlstate: str | None, kind: type[psycopg.Error] = psycopg.Error) -> psycopg.Error:
    error = kind("what the database says")
    error.sqlstate = sqlstate
    return error


@pytest.mark.parametrize(("what", "state"), [(what, state) for what, states in STATES.items() for state in states])
def test_each_sqlstate_means_one_thing(what: Meaning, state: str) -> None:
    assert meaning(raised(state)) is what


def test_an_error_without_a_sqlstate_is_a_connection_that_broke_or_a_work_at_fault() -> None:
    assert meaning(raised(None, psycopg.OperationalError)) is Meaning.LOST
    assert meaning(raised(None, psycopg.InterfaceError)) is Meaning.LOST
    assert meaning(raised(None, psycopg.ProgrammingError)) is Meaning.WORK


@pytest.mark.parametrize("state", STATES[Meaning.REFUSED])
def test_what_is_refused_is_a_full_disk_or_too_much_to_do(state: str) -> None:
    assert isinstance(refusal(raised(state)), StorageFull if state == "53100" else Overloaded)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgres://ann:secret@db1:5433,db2:5434/avocet?sslmode=require", "postgres://ann@db1:5433,db2:5434/avocet"),
        ("postgres://db1,db2,db3/avocet", "postgres://db1,db2,db3/avocet"),
        ("postgres://db1,db2/avocet?port=5433", "postgres://db1:5433,db2:5433/avocet"),
        ("postgres://db:5433/avocet", "postgres://db:5433/avocet"),
        ("postgres:///avocet", "postgres:///avocet"),
    ],
)
def test_an_address_is_shown_with_all_its_hosts_and_ports_and_without_its_password(url: str, seen: str) -> None:
    assert connect.shown(url) == seen


def test_what_was_true_last_is_told_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "NOTED_AFTER_S", 0.0)
    one, heard = reach.Reach(), list[bool]()
    overtakes = threading.Thread(target=one.found)

    def listen(reached: bool) -> None:
        if not reached:
            overtakes.start()
            overtakes.join(0.3)
        heard.append(reached)

    one.on_change(listen)
    one.lost("gone")
    overtakes.join()
    assert heard == [False, True]


def ingested(ledger: PostgresLedger, text: str) -> Any:
    correction = Correction("m", "qa", "p", "r", text, request_id=text[:20])
    return ledger.write(lambda tx: ingest.ingest(tx, correction))


def total(ledger: PostgresLedger) -> int:
    return ledger.read(lambda reader: reader.stats(ALL)).total


@contextlib.contextmanager
def opened(url: str) -> Iterator[PostgresLedger]:
    ledger = PostgresLedger(url, encode, warns=False)
    try:
        yield ledger
    finally:
        ledger.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What a ledger that listens with `append` tells at once, however long it waits then."""
    monkeypatch.setattr(reach, "NOTED_AFTER_S", 0.0)
    monkeypatch.setattr(reach, "WAIT_S", 2 * WITHIN)
    return []


def end_sessions(postgres: Postgres, name: str) -> None:
    postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def test_calls_wait_while_the_database_takes_no_more_connections_and_go_on_then(
    database: str, postgres: Postgres, told: list[bool]
) -> None:
    name, role = database.rpartition("/")[2], f"few{secrets.token_hex(4)}"
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    try:
        for kind in ("TABLES", "SEQUENCES"):
            postgres.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA public TO {role}", name)
        with opened(database.replace("avocet@", f"{role}@")) as ledger:
            ledger.on_reach(told.append)
            ingested(ledger, "before").result(WITHIN)
            postgres.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
            end_sessions(postgres, name)
            waiting = ingested(ledger, "meanwhile")
            eventually(lambda: told, within=WITHIN)
            assert told == [False] and not waiting.done()
            postgres.execute(f"ALTER ROLE {role} CONNECTION LIMIT 50")
            assert waiting.result(WITHIN).created
            assert total(ledger) == 2
            eventually(lambda: told[-1], within=WITHIN)
    finally:
        postgres.execute(f"DROP OWNED BY {role}", name)
        postgres.execute(f"DROP ROLE {role}")


def test_changes_wait_while_the_database_is_read_only_and_go_on_then(
    database: str, postgres: Postgres, told: list[bool]
) -> None:
    name = database.rpartition("/")[2]
    with opened(database) as ledger:
        ledger.on_reach(told.append)
        ingested(ledger, "before").result(WITHIN)
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        end_sessions(postgres, name)
        waiting = ingested(ledger, "meanwhile")
        eventually(lambda: told, within=WITHIN)
        assert told == [False] and not waiting.done()
        postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert waiting.result(WITHIN).created
        assert total(ledger) == 2


def test_a_writer_that_was_paused_in_a_commit_keeps_nobody_from_the_head_and_goes_on_later(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "HOLDER", connect.HOLDER.replace("5s", "1s"))
    paused, resumed, runs = threading.Event(), threading.Event(), list[int]()

    def work(tx: Any) -> Any:
        runs.append(1)
        tx.new_revision()
        paused.set()
        assert resumed.wait(WITHIN)
        return ingest.ingest(tx, Correction("m", "qa", "p", "r", "paused", request_id="paused"))

    with opened(database) as one, opened(database) as other:
        held = one.write(work)
        assert paused.wait(WITHIN)
        assert ingested(other, "meanwhile").result(WITHIN).created
        assert not held.done()
        resumed.set()
        assert held.result(WITHIN).created
        assert total(other) == 2
    assert len(runs) == 2


def test_a_time_limit_of_the_database_does_not_reach_commits(database: str, postgres: Postgres) -> None:
    postgres.limit_time(database, "200ms")
    with opened(database) as ledger:
        slow = ledger.write(lambda tx: tx._session.number("SELECT 7 FROM pg_sleep(0.5)"))
        assert slow.result(WITHIN) == 7
        with opened(database) as other:
            has_head = threading.Event()

            def work(tx: Any) -> int:
                has_head.set()
                return int(tx._session.number("SELECT 7 FROM pg_sleep(1)"))

            slow = other.write(work)
            assert has_head.wait(WITHIN)
            assert ingested(ledger, "meanwhile").result(WITHIN).created and slow.result(WITHIN) == 7


def test_a_ledger_closes_soon_while_its_database_is_away() -> None:
    with own_postgres() as own:
        ledger = PostgresLedger(own.new_database(), encode, warns=False)
        assert ingested(ledger, "before").result(WITHIN).created
        own.kill()
        waiting = [ingested(ledger, f"text {n}") for n in range(3)]
        closing = threading.Thread(target=ledger.close)
        closing.start()
        # Calls wait for 30 s, and there is nobody left to answer.
        closing.join(10)
        assert not closing.is_alive()
        assert {type(one.exception(10)) for one in waiting} == {StorageUnreachable}


def test_every_server_whose_commit_waits_while_the_standby_is_away_says_so() -> None:
    with own_postgres() as own:
        url = own.new_database()
        with opened(url) as one, opened(url) as other:
            full = list[str]()
            one.on_full(lambda: full.append("one"))
            other.on_full(lambda: full.append("other"))
            for ledger in (one, other):
                assert ingested(ledger, "before").result(WITHIN)
            own.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            own.execute("SELECT pg_reload_conf()")
            try:
                eventually(lambda: own.execute("SHOW synchronous_standby_names") == [("nobody",)], within=WITHIN)
                began = time.monotonic()
                waiting = [ingested(one, "by one")]
                eventually(lambda: own.execute(AT_COMMIT), within=WITHIN)
                waiting.append(ingested(other, "by the other"))
                eventually(lambda: set(full) == {"one", "other"}, within=WITHIN)
                assert time.monotonic() - began >= reach.NOTED_AFTER_S
                assert not any(one.done() for one in waiting)
            finally:
                own.execute("ALTER SYSTEM RESET synchronous_standby_names")
                own.execute("SELECT pg_reload_conf()")
            assert [one.result(WITHIN).created for one in waiting] == [True, True]
            assert len(full) == 2


def test_a_read_that_takes_longer_than_the_database_allows_is_refused(database: str, postgres: Postgres) -> None:
    postgres.execute(f"ALTER DATABASE {database.rpartition('/')[2]} SET statement_timeout = '500ms'")
    with opened(database) as ledger, pytest.raises(Overloaded):
        ledger.read(lambda reader: reader._session.number("SELECT 7 FROM pg_sleep(60)"))


def test_a_full_disk_of_the_database_refuses_changes_serves_reads_and_takes_more_when_there_is_room() -> None:
    need("root")
    with own_postgres() as postgres:
        small = postgres.directory / "small"
        small.mkdir()
        with mounted(small, "-t", "tmpfs", "-o", "size=24m", "tmpfs"):
            shutil.chown(small, postgres.data.owner(), postgres.data.group())
            postgres.execute(f"CREATE TABLESPACE small LOCATION '{small}'")
            postgres.execute(f"CREATE DATABASE small TEMPLATE {TEMPLATE} TABLESPACE small")
            with opened(postgres.url("small")) as ledger:
                stored = 0
                with pytest.raises(StorageFull):
                    while stored < 1_000:
                        ingested(ledger, secrets.token_hex(50_000)).result(WITHIN)
                        stored += 1
                assert total(ledger) == stored > 0
                run("mount", "-o", "remount,size=96m", str(small))
                ingested(ledger, secrets.token_hex(50_000)).result(WITHIN)
                assert total(ledger) == stored + 1
            postgres.remove()
