"""The team's suite on SQLite, on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode
from tests.team_suite import TeamSuite


class TestTeamOnDisk(TeamSuite):
    def open_ledger(self, tmp_path: Path, clock: Callable[[], float]) -> SqliteLedger:
        return SqliteLedger(DataDirectory(tmp_path), encode, clock=clock)

    def pages(self, ledger: SqliteLedger) -> int:
        with ledger.session() as session:
            return session.number("PRAGMA page_count")


class TestTeamInMemory(TeamSuite):
    def open_ledger(self, tmp_path: Path, clock: Callable[[], float]) -> SqliteLedger:
        return SqliteLedger(None, encode, clock=clock)
