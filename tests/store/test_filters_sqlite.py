"""The suite of filters on SQLite."""

from __future__ import annotations

from pathlib import Path

from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.filter_suite import FilterSuite, encode


class TestFiltersOnDisk(FilterSuite):
    def open_ledger(self, tmp_path: Path) -> SqliteLedger:
        return SqliteLedger(DataDirectory(tmp_path), encode)
