"""The oracle: which edit and which deletion counts, whatever other programs write over each other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_grpc.core.model import File, Source
from avocet_grpc.core.ports.mirror import Changed
from tests.mirror.schedules.content import Content, content_of, fresh, record_of
from tests.mirror.schedules.directed import LONG, appended, correct, rest
from tests.mirror.schedules.half_done import Reading
from tests.mirror.schedules.oracle import Oracle, Violation
from tests.mirror.schedules.world import World

FILE = File.CANDIDATES


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A decision on `x` has stood in the file for long, between other records."""
    made = World(1, tmp_path, beside=True)
    made.start()
    appended(made, FILE, "x")
    appended(made, FILE, "y")
    rest(made)
    correct(made, "x")
    rest(made)
    appended(made, FILE, "z")
    rest(made)
    made.clock.sleep(LONG)
    yield made
    assert made.mirror is not None
    made.mirror.close()
    made.ledger.close()


def read(world: World) -> Reading:
    world.read(FILE)
    return world.readings.pop()


def rewritten(world: World, reading: Reading, *, without: str | None = None) -> None:
    """Another program writes what it read, and deletes one record."""
    out = [raw for raw in reading.lines if (record_of(raw) or {}).get("id") != without]
    seen: set[Content] = {
        content_of(record)
        for raw in reading.lines
        if (record := record_of(raw)) is not None and record["id"] == without
    }
    world.note_rewrite(FILE, out, {without: seen} if without else {}, reading.deleted)
    world.disk.put(world.path(FILE), b"".join(raw + b"\n" for raw in out))


@pytest.mark.parametrize("saw_the_decision", [True, False])
def test_an_edit_of_a_second_line_replaces_a_decision_that_its_author_had_read(saw_the_decision: bool) -> None:
    """Also if the file is another one by the time of the verdict."""
    second = fresh("x", 1, File.APPROVED) | {"status": "needs_review"}
    edited = second | {"status": "approved", "corrected_response": "by hand"}
    decided, line = (json.dumps(record).encode() for record in (fresh("x", 2, File.APPROVED), second))
    oracle = Oracle()
    oracle.appended(File.APPROVED, second, ())
    oracle.edited(File.APPROVED, second, edited, [decided, line] if saw_the_decision else [line])
    now = Changed("x", 1, 1, Source.SERVICE, decided, None, 0)
    refused = contextlib.nullcontext() if saw_the_decision else pytest.raises(Violation, match="lost to a later line")
    with refused:
        oracle.judge_edit(File.APPROVED, now, content_of(edited), "later line", [])


def test_a_deletion_counts_that_a_stale_rewrite_put_back_and_a_later_reading_took_away_again(world: World) -> None:
    stale = read(world)
    rewritten(world, read(world), without="x")
    after = read(world)
    rewritten(world, stale)
    world.clock.sleep(30)
    rewritten(world, after)
    rest(world)
    assert [(record_of(raw) or {})["id"] for raw in world.lines(FILE)] == ["y", "z"]


@pytest.mark.parametrize("started", [20.0, 300.0], ids=["long ago", "just now"])
def test_an_id_that_was_deleted_before_a_start_may_be_added_again_while_the_service_waits(started: float) -> None:
    decided, again = fresh("x", 1, File.APPROVED), fresh("x", 2, File.APPROVED)
    oracle = Oracle()
    oracle.deletes(File.APPROVED, "x", {content_of(decided)}, 10.0)
    oracle.started, oracle.time, oracle.looked[File.APPROVED] = started, 310.0, 310.0
    oracle.appended(File.APPROVED, again, ())
    now = Changed("x", 1, 1, Source.SERVICE, json.dumps(decided).encode(), None, 0)
    with contextlib.nullcontext() if started == 300.0 else pytest.raises(Violation, match="was lost to a edit"):
        oracle.judge_edit(File.APPROVED, now, content_of(again), "edit", [])


def test_a_deletion_that_nobody_meant_is_a_violation(world: World) -> None:
    reading = read(world)
    lines = [raw for raw in reading.lines if (record_of(raw) or {}).get("id") != "x"]
    rewritten(world, Reading(FILE, lines, reading.at, {}))
    with pytest.raises(Violation, match="x was deleted though nobody deleted it"):
        rest(world)
