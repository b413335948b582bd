"""The ledger's suites on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_grpc.core.ports.ledger import Ledger
from tests.filter_suite import CountSuite
from tests.ledger_suite import LedgerSuite, encode
from tests.mirror_port_suite import MirrorPortSuite
from tests.team_suite import TeamSuite


class _OnPostgres:
    @pytest.fixture(autouse=True)
    def _in_a_database(self, database: str) -> Iterator[None]:
        self.url = database
        yield

    def _open(self, **more: Any) -> Any:
        from avocet_grpc.store.postgres.engine import PostgresLedger

        return PostgresLedger(self.url, encode, **more)


class TestPostgres(_OnPostgres, LedgerSuite):
    def open_ledger(self, tmp_path: Any) -> Ledger:
        ledger: Ledger = self._open()
        return ledger


class TestCountsPostgres(_OnPostgres, CountSuite):
    def open_ledger(self, tmp_path: Any) -> Ledger:
        ledger: Ledger = self._open()
        return ledger


class TestMirrorPortPostgres(_OnPostgres, MirrorPortSuite):
    def open_ledger(self, tmp_path: Any) -> Any:
        return self._open()


class TestTeamPostgres(_OnPostgres, TeamSuite):
    def open_ledger(self, tmp_path: Any, clock: Callable[[], float]) -> Any:
        return self._open(clock=clock)
