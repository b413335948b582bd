"""The candidate and the approved record of an id have one stored line as long as their lines are equal."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import File
from avocet_grpc.core.record import parse
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import inspect
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, import_candidates, undo

Lines = dict[tuple[int, str], bytes]

CHANGES = st.tuples(
    st.sampled_from(["put", "move", "remove", "write"]),
    st.sampled_from(list(File)),
    st.sampled_from("ab"),
    st.integers(0, 2),
)
GROUPS = st.lists(st.lists(st.tuples(st.lists(CHANGES, min_size=1, max_size=4), st.booleans()), max_size=3), max_size=6)


def line(id: str, text: int) -> Any:
    return parse(json.dumps({"id": id, "status": "approved", "answer": text}).encode())


C, A = File.CANDIDATES, File.APPROVED
WRITE = ("write", C, "a", 0)
EQUAL_THEN_CHANGED: Any = [
    [([("put", C, "a", 1), ("put", A, "a", 1)], False), ([*changes, WRITE], False)]
    for changes in (
        [("put", C, "a", 0)],
        [("put", A, "a", 1), ("put", C, "a", 0)],
        [("put", C, "a", 0), ("put", A, "a", 1)],
        [("remove", C, "a", 0)],
        [("move", C, "a", 0)],
    )
]
"""Two works of one commit: the first makes both lines equal, the second changes the candidate before that is stored."""


@settings(max_examples=60, deadline=None)
@given(GROUPS)
def test_every_record_has_its_own_bytes_whatever_was_done_to_the_other_file(groups: Any) -> None:
    judge(groups)


@pytest.mark.parametrize("works", EQUAL_THEN_CHANGED)
def test_a_line_that_an_earlier_work_of_the_commit_made_shared_stays_the_others(works: Any) -> None:
    judge([works])


def judge(groups: Any) -> None:
    """Run the groups, each in a commit, and hold the ledger against a plain model."""
    with tempfile.TemporaryDirectory() as root:
        directory = DataDirectory(Path(root))
        ledger = SqliteLedger(directory, encode)
        model: Lines = {}
        for works in groups:
            done = ledger.write_all([lambda tx, w=work: run(tx, *w) for work in works]).result()
            for (changes, refused), outcome in zip(works, done, strict=True):
                assert isinstance(outcome, Exception) == refused
                for change in () if refused else changes:
                    expect(model, *change)
        with ledger.mirror().view() as view:
            found = {(int(f), one.id): one.raw for f in File for one in view.records(f, 0, 100)}
        ledger.close()
        assert found == model
        assert inspect.problems(directory.ledger) == []
        assert stored(directory) == len({(id, raw) for (_, id), raw in model.items()})


def run(tx: Any, changes: Any, refused: bool) -> None:
    for what, file, id, text in changes:
        if what == "write":
            tx.written()
        elif what == "remove":
            tx.remove(file, id)
        else:
            tx.put(file, line(id, text), new_key=what == "move")
    if refused:
        raise InvalidField("id", "refused")


def expect(model: Lines, what: str, file: File, id: str, text: int) -> None:
    if what == "remove":
        model.pop((int(file), id), None)
    elif what != "write":
        model[int(file), id] = line(id, text).raw


def stored(directory: DataDirectory) -> int:
    db = sqlite3.connect(directory.ledger)
    [count] = db.execute("SELECT count(*) FROM bodies").fetchone()
    db.close()
    return int(count)


def test_an_approved_record_takes_no_room_of_its_own(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode)
    import_candidates(ledger, 3)
    correct(ledger, "c0")
    assert stored(directory) == 3
    undo(ledger, "c0")
    assert stored(directory) == 3
    ledger.close()


def test_equal_lines_of_both_files_at_a_first_start_are_stored_once(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode)
    mirror = ledger.mirror()
    epoch = mirror.take_over()
    lines = [line("a", 1), line("b", 1), line("c", 1), line("e", 1), line("f", 1)]
    spelt = parse(lines[3].raw.replace(b", ", b","))
    other = [line("a", 1), line("b", 2), line("d", 1), line("a", 1), line("c", 1), line("c", 2), spelt, line("f", 1)]
    list(mirror.adopt(epoch, File.CANDIDATES, lines))
    list(mirror.adopt(epoch, File.APPROVED, other))
    with mirror.view() as view:
        approved = {one.id: one.raw for one in view.records(File.APPROVED, 0, 100)}
    ledger.close()
    assert approved == {line.columns.id: line.raw for line in (*lines[:1], *other[1:3], *other[5:])}
    assert stored(directory) == 5 + 4
    assert inspect.problems(directory.ledger) == []
