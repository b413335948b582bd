"""Responses that watches share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.watch import WatchQuery, complete
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.change_hub import ChangeHub
from avocet_grpc.edge.watching import MOST_BYTES, Made, Watching
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, import_candidates, newest
from tests.support import PATIENCE_S


class Failing:
    """Reads of a ledger, the first of which fails."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger, self._failed = ledger, False

    async def read_for_stream(self, work: Callable[[TeamReader], Any]) -> Any:
        if not self._failed:
            self._failed = True
            raise Overloaded("the database has too many connections")
        return self._ledger.read(work)


def test_a_response_that_could_not_be_made_is_made_for_the_next_watch_although_nobody_commits() -> None:
    ledger = SqliteLedger(None, encode)
    import_candidates(ledger, 1)
    query, begin = WatchQuery(include_candidates=True), complete(newest(ledger))
    correct(ledger, "c0")

    async def read(work: Callable[[TeamReader], Any]) -> Any:
        return ledger.read(work)

    async def watched() -> Made:
        hub = ChangeHub(read, read, fallback_seconds=100 * PATIENCE_S)
        watching = Watching(cast(Backend, Failing(ledger)), hub)
        hub.join()
        found = await hub.after(begin, PATIENCE_S, 100)
        with pytest.raises(Overloaded):
            await watching._next(query, found, MOST_BYTES)
        try:
            return await watching._next(query, found, MOST_BYTES)
        finally:
            hub.leave()

    made = asyncio.run(watched())
    ledger.close()
    assert made.has_changes and b"c0" in made.response
