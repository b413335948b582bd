"""The judge is judged first: it agrees with a sound service, and finds each way to be unsound."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.acks import APPROVED, NEEDS_REVIEW, Acks, Known
from tests.faults.check import check, files_agree
from tests.faults.load import Caller, Load, candidates
from tests.support import Server, write_records


@pytest.fixture
def busy(victim: Server, acks: Acks) -> Server:
    """A server after changes of every kind."""
    write_records(victim.candidates, made := candidates(200))
    acks.add(made)
    victim.candidates.open("a").write('{"id": "torn\n')
    acks.keep_line("candidates", b'{"id": "torn')
    victim.start()
    victim.set_runs_directory()
    with Load(acks, victim.address, threads=3) as load:
        load.callers[0].import_run(victim.runs, 10)
        load.wait_for(150)
    return victim


def test_the_judge_agrees_with_a_sound_service_also_after_a_restart(busy: Server, acks: Acks) -> None:
    check(acks, busy)
    assert (acks.unknown, acks.refused, acks.wrong) == (0, 0, [])
    assert {change.action for one in acks.known.values() for change in one.changes} >= {
        "correct",
        "discard",
        "flag",
        "undo",
        "ingest",
        "import",
    }
    assert busy.stop() == 0
    files_agree(acks, busy.data, within=0)
    check(acks, busy.start(), asked=1_000)


def test_a_call_that_failed_may_be_there_or_not_and_is_known_afterwards(busy: Server, acks: Acks) -> None:
    caller = Caller(acks, busy.address)
    for _ in range(5):
        assert caller.submit("correct") and caller.ingest()
    made = [known for known in acks.known.values() if known.changes[-1:] and known.changes[-1].action == "correct"]
    for known in made:
        lost = known.changes.pop()
        known.state = known.changes[-1].after if known.changes else replace(known.state, status=NEEDS_REVIEW, fields=())
        acks.leave_unknown(known, lost)
    ingested = next(
        known for known in acks.known.values() if known.changes[-1:] and known.changes[-1].action == "ingest"
    )
    del acks.known[ingested.id]
    acks.leave_new_unknown(ingested.changes[0], [ingested.original | {"id": ""}])
    busy.kill()
    idle = acks.take(in_review=True)
    assert idle is not None and not Caller(acks, busy.address).submit("correct", idle) and idle.doubt is not None
    check(acks, busy.start())
    assert all(known.state.status == APPROVED and known.doubt is None for known in made)
    assert idle.state.status == NEEDS_REVIEW and ingested.id in acks.known


Tamper = Callable[[Server, Acks, Known], None]


def lose(server: Server, acks: Acks, known: Known) -> None:
    known.state = replace(known.state, fields=(*known.state.fields, ("corrected_response", "another")))


def lose_a_new_record(server: Server, acks: Acks, known: Known) -> None:
    acks.add(candidates(1, prefix="never-stored"))


def lose_a_revision(server: Server, acks: Acks, known: Known) -> None:
    known.state = replace(known.state, revision=(known.state.revision or 0) + 1)


def make_a_change_twice(server: Server, acks: Acks, known: Known) -> None:
    with sqlite3.connect(server.data / ".avocet" / "ledger.db", timeout=30) as db:
        columns = [name for _, name, *_ in db.execute("PRAGMA table_info(history)") if name != "number"]
        db.execute(
            f"INSERT INTO history ({', '.join(columns)}) SELECT {', '.join(columns)} FROM history"
            " WHERE id = ? ORDER BY revision DESC LIMIT 1",
            (known.id,),
        )


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lose, "wanted"),
        (lose_a_new_record, "not served"),
        (lose_a_revision, "acknowledged was"),
        (make_a_change_twice, "the history has"),
    ],
)
def test_the_judge_finds_what_the_service_lost_or_has_twice(
    busy: Server, acks: Acks, tamper: Tamper, found: str
) -> None:
    check(acks, busy)
    known = next(one for one in acks.known.values() if one.changes and one.state.status == APPROVED)
    tamper(busy, acks, known)
    with pytest.raises(AssertionError, match=found):
        check(acks, busy, asked=1_000)


def test_the_judge_finds_what_a_plain_reader_would(busy: Server, acks: Acks) -> None:
    check(acks, busy)
    assert busy.stop() == 0
    sound = busy.candidates.read_bytes()
    lines = sound.splitlines(keepends=True)
    other = json.dumps(json.loads(lines[0]) | {"task_name": "another"}).encode() + b"\n"
    for unsound, found in (
        (lines[1:], "missing"),
        ([*lines, lines[0]], "2 times"),
        ([other, *lines[1:]], "task_name"),
        ([*lines, b'{"id": "half\n'], "cannot be parsed"),
        ([line for line in lines if b"torn" not in line], "a line of others is lost"),
        ([*lines, b'{"id": "nobody"}\n'], "unexpected"),
    ):
        busy.candidates.write_bytes(b"".join(unsound))
        with pytest.raises(AssertionError, match=found):
            files_agree(acks, busy.data, within=0)
    busy.candidates.write_bytes(sound)
    files_agree(acks, busy.data, within=0)


def test_the_same_seed_chooses_the_same_records() -> None:
    chosen = []
    for _ in range(2):
        acks = Acks(random.Random(7).randrange(1000))
        acks.add(candidates(300))
        chosen.append([known.id for _ in range(20) if (known := acks.take(in_review=True))])
    assert chosen[0] == chosen[1] and len(set(chosen[0])) == 20
