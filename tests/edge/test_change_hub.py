"""The newest changes, read once for all watches: woken by commits, and again after a look that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.watch import complete
from avocet_grpc.edge.change_hub import ChangeHub
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, import_candidates, newest
from tests.support import PATIENCE_S

NEVER_S = 100 * PATIENCE_S


class Reads:
    """Reads of a ledger, each of which may be made to fail first."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger
        self.failures: list[Exception] = []
        self.count = 0

    async def __call__(self, work: Callable[[TeamReader], Any]) -> Any:
        self.count += 1
        if self.failures:
            raise self.failures.pop()
        return self._ledger.read(work)


@pytest.fixture
def ledger() -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(None, encode)
    import_candidates(ledger, 4)
    yield ledger
    ledger.close()


@pytest.mark.parametrize("failure", [Overloaded("too many calls wait"), ValueError("nobody foresaw this")])
def test_a_look_that_failed_is_repeated_although_nobody_commits(ledger: SqliteLedger, failure: Exception) -> None:
    async def followed() -> list[str]:
        reads = Reads(ledger)
        hub = ChangeHub(reads, reads, fallback_seconds=NEVER_S)
        at = complete(newest(ledger))
        hub.join()
        assert not (await hub.after(at, 0.1, 100)).entries
        reads.failures = [failure]
        correct(ledger, "c0")
        hub.wake()
        try:
            return [entry.id for entry in (await hub.after(at, PATIENCE_S, 100)).entries]
        finally:
            hub.leave()

    assert asyncio.run(followed()) == ["c0"]


def test_nothing_is_read_while_nothing_is_committed(ledger: SqliteLedger) -> None:
    async def read_in_a_while() -> int:
        reads = Reads(ledger)
        hub = ChangeHub(reads, reads, fallback_seconds=NEVER_S)
        hub.join()
        at = complete(newest(ledger))
        assert not (await hub.after(at, 0.1, 100)).entries
        before = reads.count
        assert not (await hub.after(at, 1, 100)).entries
        hub.leave()
        return reads.count - before

    assert asyncio.run(read_in_a_while()) == 0
