"""What listens to the ledger can neither fail a change nor silence other listeners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avocet_grpc.core.errors import StorageFull
from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.model import Correction
from avocet_grpc.core.observer import Observer
from avocet_grpc.store.sqlite.condition import Condition
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.telemetry import guard
from tests.ledger_suite import encode


class Broken(Observer):
    def committed(self, changes: int, sync_seconds: float) -> None:
        raise OSError("no room for a metric")


@pytest.fixture
def ledger() -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(None, encode)
    yield ledger
    ledger.close()


def fail() -> None:
    raise OSError


def ingested(ledger: SqliteLedger) -> bool:
    correction = Correction("s", "t", "p", "r", "c")
    return ledger.write(lambda tx: ingest(tx, correction)).result(timeout=60).created


def test_a_failing_observer_is_counted_and_changes_go_on(ledger: SqliteLedger) -> None:
    before = guard.failures["observer"]
    ledger.observer = guard.GuardedObserver(Broken())
    assert ingested(ledger) and ingested(ledger)
    ledger.write(lambda tx: None).result(timeout=60)
    assert guard.failures["observer"] - before >= 2


@pytest.mark.parametrize("event", ["failure", "full"])
def test_a_failing_listener_to_the_storages_condition_silences_no_other(event: str) -> None:
    condition, heard = Condition(None), list[str]()
    listen = condition.on_failure if event == "failure" else condition.on_full
    listen(fail)
    listen(lambda: heard.append(event))
    if event == "failure":
        condition.fail(OSError())
    else:
        condition.refused(StorageFull("full"))
    assert heard == [event]
