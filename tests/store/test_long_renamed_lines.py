"""A line that the service would make longer than others can read is never made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_grpc.core import imports, record, review
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import Action, Decision, Imported, OnConflict, UndoRequest
from avocet_grpc.core.record import parse, record_of
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode

LIMIT = 2_000


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteLedger]:
    for module in (imports, record):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", LIMIT)
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    yield ledger
    ledger.close()


def line_of(text: str) -> bytes:
    return f'{{"id": "a", "status": "needs_review", "model_response": "{text}"}}'.encode()


def test_a_record_that_takes_the_run_s_name_and_becomes_too_long_is_a_conflict(ledger: SqliteLedger) -> None:
    first, long = parse(line_of("short")), parse(line_of("\u0416" * 900))
    assert len(long.raw) < LIMIT

    def work(tx: object, lines: list[object]) -> Imported:
        return imports.import_run(tx, "run", lines, on_conflict=OnConflict.QUALIFY)  # type: ignore[arg-type]

    assert ledger.write(lambda tx: work(tx, [first])).result().imported == 1
    answer = ledger.write(lambda tx: work(tx, [long])).result()
    assert (answer.conflicts, answer.qualified) == (1, 0)
    assert "longer than" in answer.problems[0].reason


def test_an_undo_that_would_make_a_line_too_long_is_refused(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.write(lambda tx: imports.import_run(tx, "run", [parse(line_of("\u0416" * 900))])).result()
    monkeypatch.setattr(record, "MAX_LINE_BYTES", 100 * LIMIT)
    ledger.write(lambda tx: review.submit(tx, Decision("a", Action.FLAG))).result()
    monkeypatch.setattr(record, "MAX_LINE_BYTES", LIMIT)
    with pytest.raises(InvalidField):
        ledger.write(lambda tx: review.undo(tx, UndoRequest("a"))).result()
    candidate = ledger.read(lambda reader: reader.candidate("a"))
    assert candidate is not None and record_of(candidate)["status"] == "model_rejected"
