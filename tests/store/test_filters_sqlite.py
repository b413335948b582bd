"""The suite of filters on SQLite."""

from __future__ import annotations

from pathlib import Path

from avocet_grpc.core.model import CandidateFilter, File
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.filter_suite import FilterSuite, encode
from tests.ledger_suite import candidate_line


class TestFiltersOnDisk(FilterSuite):
    def open_ledger(self, tmp_path: Path) -> SqliteLedger:
        return SqliteLedger(DataDirectory(tmp_path), encode)


def test_what_a_first_start_counted_and_took_back_is_not_told(tmp_path: Path) -> None:
    """A later line of an id takes the place of one that was counted and not stored yet."""
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    port = ledger.mirror()
    line = {"status": "approved", "task_type": "t", "model_name": "m"}
    several = [candidate_line(1, **line, corrected_response=text) for text in (" ", "x")]
    assert len(list(port.adopt(port.take_over(), File.APPROVED, iter(several)))) == 2
    stats = ledger.read(lambda r: r.stats(CandidateFilter(task_types=("t",))))
    assert (stats.export_ready, stats.unexportable) == (1, {})
    ledger.close()
