"""A database whose machine takes what is sent and never answers, as one that is stopped or cut off behind a router."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.core import ingest
from avocet_grpc.core.errors import StorageUnreachable
from avocet_grpc.core.model import CandidateFilter, Correction
from avocet_grpc.store.postgres import reach, silence
from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from tests.cluster.support import own_postgres
from tests.ledger_suite import encode
from tests.postgres import Postgres
from tests.proc import children_of
from tests.support import eventually

ALL = CandidateFilter()
WITHIN = 60.0
WAIT_S = 15.0
"""In place of 30 s."""
LATE_S = 8.0
"""How much later than that a call may end: when it was noticed, or an attempt to connect had begun."""


@pytest.fixture
def own() -> Iterator[Postgres]:
    with own_postgres() as server:
        yield server


@contextlib.contextmanager
def silent(server: Postgres) -> Iterator[None]:
    """Inside, the kernel takes connections and bytes for the server, and the server does nothing."""
    pids = [server.pid, *children_of(server.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def ingested(ledger: PostgresLedger, text: str) -> Any:
    correction = Correction("m", "qa", "p", "r", text, request_id=text)
    return ledger.write(lambda tx: ingest.ingest(tx, correction))


def total(ledger: PostgresLedger) -> int:
    return ledger.read(lambda reader: reader.stats(ALL)).total


def test_a_statement_that_takes_long_and_a_wait_for_a_lock_are_no_silence(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "SILENT_S", 0.2)
    with connect(database) as one, connect(database) as other, ThreadPoolExecutor(1) as pool:
        assert one.execute("SELECT 7 FROM pg_sleep(1)").fetchone() == (7,)
        one.execute("BEGIN")
        one.execute("SELECT 1 FROM head FOR UPDATE")
        waiting = pool.submit(other.execute, "SELECT 8 FROM head FOR UPDATE")
        time.sleep(1)
        assert not waiting.done()
        one.execute("COMMIT")
        assert waiting.result(WITHIN).fetchone() == (8,)


def test_a_server_that_refuses_to_connect_has_answered(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENT_S", 0.2)
    postgres.execute("CREATE ROLE single LOGIN CONNECTION LIMIT 1")
    try:
        with connect(postgres.url().replace("avocet@", "single@")) as only:
            assert only.execute("SELECT 7 FROM pg_sleep(1)").fetchone() == (7,)
    finally:
        postgres.execute("DROP ROLE single")


@pytest.mark.timeout(180)
def test_calls_to_a_database_that_never_answers_end_in_time_and_go_on_once_it_answers(
    own: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "WAIT_S", WAIT_S)
    ledger, told = PostgresLedger(own.new_database(), encode, warns=False), list[bool]()
    ledger.on_reach(told.append)
    with contextlib.closing(ledger), ThreadPoolExecutor(1) as pool:
        assert ingested(ledger, "before").result(WITHIN).created and total(ledger) == 1
        with silent(own):
            began = time.monotonic()
            writing, reading = ingested(ledger, "meanwhile"), pool.submit(total, ledger)
            for call in (writing, reading):
                left = began + WAIT_S + LATE_S - time.monotonic()
                assert isinstance(call.exception(left), StorageUnreachable)
            assert time.monotonic() - began >= WAIT_S - 1
            assert told == [False]
        assert ingested(ledger, "meanwhile").result(WITHIN)
        assert total(ledger) == 2
        eventually(lambda: told[-1], within=WITHIN)
