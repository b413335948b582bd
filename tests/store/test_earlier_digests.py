"""A ledger in which 1 and 1.0 were two contents: its digests are renewed at the start, and it forgets nothing."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from avocet_grpc.core.model import ParsedLine
from avocet_grpc.core.ports.mirror import Verdict
from avocet_grpc.core.record import content_digest, earlier_digests, load, parse
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.schema import WHOLE_NUMBERS
from avocet_grpc.store.sqlite import inspect
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, import_candidates
from tests.mirror_port_suite.support import A, C, Port

COUNT = 1_100
"""Records, more than one step renews."""


def line(id: str, number: float) -> ParsedLine:
    return parse(json.dumps({"id": id, "status": "needs_review", "number": number}).encode())


def make_earlier(path: Path) -> None:
    """Store what the program before stored."""
    with inspect.reader(path) as view:
        found = [(file, one.id, load(one.raw or b"")) for file in (C, A) for one in view.records(file, 0, 2 * COUNT)]
    with sqlite3.connect(path) as connection:
        for file, id, record in found:
            values = earlier_digests(record)[0], id, int(file)
            connection.execute("UPDATE records SET digest = ? WHERE id = ? AND file = ?", values)
        past = earlier_digests(load(line("decided", 1.0).raw))[0]
        connection.execute("UPDATE past SET digest = ? WHERE id = 'decided' AND file = 0", (past,))
        connection.execute("DELETE FROM meta WHERE name = ?", (WHOLE_NUMBERS,))
    connection.close()
    path.with_name(f"{path.name}-seal").unlink()


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode)
    ledger.write(lambda tx: [tx.put(C, line(id, 1.0)) for id in ("decided", "other")]).result()
    import_candidates(ledger, COUNT, value=2.0)
    correct(ledger, "decided")
    ledger.close()
    make_earlier(directory.ledger)
    return directory


def test_each_record_has_the_present_digest_after_the_start(directory: DataDirectory) -> None:
    assert not inspect.problems(directory.ledger), "the digests of before are sound"
    SqliteLedger(directory, encode).close()
    with inspect.reader(directory.ledger) as view:
        found = [one for file in (C, A) for one in view.records(file, 0, 2 * COUNT)]
    assert len(found) == COUNT + 3
    for one in found:
        assert one.digest == content_digest(load(one.raw or b""))
    assert not inspect.problems(directory.ledger)


def test_an_equal_number_is_no_edit_of_a_record_of_before(directory: DataDirectory) -> None:
    ledger = SqliteLedger(directory, encode)
    port = Port(ledger)
    revision = ledger.read(lambda reader: reader.revision())
    assert port.edit(C, line("other", 1), port.expected(C, "other")).verdict is Verdict.SAME
    assert port.edit(C, line("other", 1.0), port.expected(C, "other")).verdict is Verdict.SAME
    assert ledger.read(lambda reader: reader.revision()) == revision
    ledger.close()


def test_a_version_of_before_is_still_known_as_past(directory: DataDirectory) -> None:
    ledger = SqliteLedger(directory, encode)
    port = Port(ledger)
    assert port.edit(C, line("decided", 1.0), port.expected(C, "decided")).verdict is Verdict.STALE
    ledger.close()


def test_a_record_that_was_damaged_before_still_shows(directory: DataDirectory) -> None:
    with sqlite3.connect(directory.ledger) as connection:
        connection.execute("UPDATE records SET digest = x'00' WHERE id = 'other'")
    connection.close()
    SqliteLedger(directory, encode).close()
    assert any("(other)" in problem for problem in inspect.problems(directory.ledger))
