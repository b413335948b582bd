"""Who listens to the ledger, or counts for a metric, can neither fail a change nor silence other listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.model import Correction
from avocet_grpc.core.observer import Observer
from avocet_grpc.edge.interceptors.log import LogLayer
from avocet_grpc.store.files_store import SqliteStore
from avocet_grpc.telemetry import guard
from tests.store_suite import encode


class Broken(Observer):
    def committed(self, changes: int, sync_seconds: float) -> None:
        raise OSError("no room for a metric")


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    store = SqliteStore(None, encode=encode)
    yield store
    store.close()


def fail() -> None:
    raise OSError


def ingested(store: SqliteStore) -> bool:
    correction = Correction("s", "t", "p", "r", "c")
    return store.write(lambda tx: ingest(tx, correction)).result(timeout=10).created


def test_a_failing_observer_is_counted_and_changes_go_on(store: SqliteStore) -> None:
    before = guard.failures["observer"]
    store.observer = guard.GuardedObserver(Broken())
    assert ingested(store) and ingested(store)
    store.write(lambda tx: None).result(timeout=10)
    assert guard.failures["observer"] - before >= 2


def test_a_failing_listener_silences_no_other_and_no_change(store: SqliteStore) -> None:
    heard: list[str] = []
    store.on_commit(fail)
    store.on_commit(lambda: heard.append("commit"))
    assert ingested(store) and ingested(store)
    store.write(lambda tx: None).result(timeout=10)
    assert len(heard) >= 2


def test_a_meter_that_fails_changes_no_answer() -> None:
    class Meter:
        def call_began(self, method: str) -> None:
            raise RuntimeError

        call_ended = call_began

    from avocet_grpc.edge import call_context

    async def answer() -> str:
        return "answer"

    async def call() -> object:
        call_context.begin("/s/M", ())
        return await LogLayer(Meter()).around("/s/M", answer, None)  # type: ignore[arg-type]

    assert asyncio.run(call()) == "answer"


def test_a_background_task_that_fails_is_counted_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RETRY_S", 0)
    rounds = 0

    async def look() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise asyncio.CancelledError
        raise RecursionError("of a parser")

    before = guard.failures["keeper of the test"]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(guard.keep("keeper of the test", look))
    assert (rounds, guard.failures["keeper of the test"] - before) == (3, 2)
