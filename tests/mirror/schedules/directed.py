"""Set pieces for rules that random schedules hardly reach: what a rule is for comes at each moment in turn."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision, File, UndoRequest
from avocet_grpc.core.record import render
from tests.mirror.schedules.content import content_of, fresh, record_of, spell
from tests.mirror.schedules.oracle import Violation
from tests.mirror.schedules.world import Kill, World, temporary

Prepare = Callable[[World], None]
LONG = 100.0
"""After so many seconds nothing that we wrote is fresh any more."""


def at_each_step(prepare: Prepare, play: Callable[[World, int], bool]) -> None:
    """Play it with something at the first step of a part of it, at the second, and so on, until the part ends before.

    Raises Violation; AssertionError if nothing ever came.
    """
    number = 0
    while True:
        with temporary() as directory:
            world = World(number, Path(directory), beside=True)
            prepare(world)
            try:
                came = play(world, number)
            finally:
                if world.mirror is not None:
                    world.mirror.close()
                world.ledger.close()
        if not came:
            assert number, "nothing ever came"
            return
        number += 1


def came_at(world: World, number: int, action: Callable[[], None], work: Callable[[], object]) -> bool:
    """Do the work, with the action at that step of the mirror. False if the work ended before."""
    came = False

    def once() -> None:
        nonlocal came
        came, world.countdown = True, 10**9
        action()

    world.countdown, world.action = number, world.kill if action == world.kill else once
    try:
        work()
    except Kill:
        came = True
        world.killed()
    world.countdown = 10**9
    return came


def rest(world: World) -> None:
    world.come_to_rest()
    world.check()


def approve_new(world: World, id: str) -> bytes:
    """The service stores an approved record; return its line."""
    line = render({"id": id, "status": "approved", "task_name": "n0", "corrected_response": "d0"})
    world.ledger.write(lambda tx: (tx.put(File.CANDIDATES, line), tx.put(File.APPROVED, line))).result()
    return line.raw


def correct(world: World, id: str) -> None:
    world.ledger.write(lambda tx: review.submit(tx, Decision(id, Action.CORRECT, f"d{world.new()}"))).result()
    for file in File:
        world.oracle.decided(file, id)


def appended(world: World, file: File, id: str) -> bytes:
    """Another program appends a line; return it."""
    number = world.new()
    raw = world.added(file, fresh(id, number, file), number)
    world.oracle.foreign.add(raw)
    inode = world.inode(file)
    assert inode is not None
    world.disk.add(inode, raw + b"\n")
    return raw


def a_half_of_ours_that_others_ended(prepare: Prepare) -> None:
    """A kill leaves half of our line; the next one comes before it is blanked, and another program ends the line."""

    def play(world: World, number: int) -> bool:
        world.start()
        approve_new(world, "first")
        rest(world)
        half = approve_new(world, "second")[:-10]
        world.killed()
        inode = world.inode(File.APPROVED)
        assert inode is not None
        world.disk.add(inode, half)
        world.clock.sleep(LONG)
        came = came_at(world, number, world.kill, world.start)
        is_noted = not came or _notes_a_line_to_blank(world.directory.index)
        if came:
            world.disk.add(inode, b"\n")
            world.start()
        rest(world)
        if is_noted and half in world.lines(File.APPROVED):
            raise Violation("half of a line of ours stays in the file")
        return came

    at_each_step(prepare, play)


def _notes_a_line_to_blank(index: Path) -> bool:
    database = sqlite3.connect(index)
    try:
        return bool(database.execute("SELECT count(*) FROM lines WHERE kind = 3 AND id IS NULL").fetchone()[0])
    finally:
        database.close()


def second_line_of_a_decision(world: World) -> bytes:
    """A decision that is not in the file yet, on a record that has a second line by another program; return that."""
    world.start()
    line = render(fresh("c", 1, File.CANDIDATES))
    world.ledger.write(lambda tx: tx.put(File.CANDIDATES, line)).result()
    rest(world)
    second = appended(world, File.CANDIDATES, "c")
    rest(world)
    correct(world, "c")
    world.clock.sleep(LONG)
    return second


def a_kill_while_an_order_is_put_right(prepare: Prepare) -> None:
    """A decision comes behind another program's second line, which has to move behind it."""

    def play(world: World, number: int) -> bool:
        second = second_line_of_a_decision(world)
        came = came_at(world, number, world.kill, world.round)
        if came:
            world.start()
        rest(world)
        if world.lines(File.CANDIDATES).count(second) != 1:
            raise Violation("another program's line is there twice, or gone")
        return came

    at_each_step(prepare, play)


def a_kill_while_a_later_line_is_taken_in(prepare: Prepare) -> None:
    """Another program appends a second line to what others approved, which counts from then on."""

    def play(world: World, number: int) -> bool:
        world.start()
        approve_new(world, "first")
        rest(world)
        one = appended(world, File.APPROVED, "x")
        rest(world)
        two = appended(world, File.APPROVED, "x")
        came = came_at(world, number, world.kill, world.round)
        if came:
            world.start()
        rest(world)
        if not {one, two} <= set(world.lines(File.APPROVED)):
            raise Violation("a line of another program was blanked")
        return came

    at_each_step(prepare, play)


def a_line_for_a_displaced_file(prepare: Prepare) -> None:
    """A program that has the file open appends to it after a replacement."""

    def play(world: World, number: int) -> bool:
        world.start()
        approve_new(world, "first")
        approve_new(world, "second")
        rest(world)
        old = world.inode(File.APPROVED)
        assert old is not None
        world.hold(File.APPROVED)
        world.ledger.write(lambda tx: review.undo(tx, UndoRequest("first"))).result()
        for _ in range(200):
            world.round()
            world.clock.sleep(0.25)
        assert world.inode(File.APPROVED) is not old, "the file was not replaced"
        late = world.added(File.APPROVED, fresh("late", 5, File.APPROVED), 5)
        world.disk.add(old, late + b"\n")
        world.let_all_go()
        rest(world)
        if late not in world.lines(File.APPROVED):
            raise Violation("a line for a displaced file is lost")
        return number == 0

    at_each_step(prepare, play)


def an_edit_of_the_same_size_before_a_write(prepare: Prepare) -> None:
    """Another program edits a record in place, in as many bytes, between our look and our write."""

    def play(world: World, number: int) -> bool:
        world.start()
        old = appended(world, File.CANDIDATES, "x")
        rest(world)
        world.clock.sleep(LONG)
        approve_new(world, "ours")
        record = record_of(old)
        assert record is not None
        edited = spell(record | {"task_name": "n" * len(record["task_name"])}, 0)
        edited = edited[:-1] + b" " * (len(old) - len(edited)) + b"}"

        def edit() -> None:
            inode = world.inode(File.CANDIDATES)
            assert inode is not None
            data = bytes(inode.data)
            assert old in data
            lines = [edited if one == old else one for one in world.lines(File.CANDIDATES)]
            world.oracle.basis[File.CANDIDATES, "x", content_of(record_of(edited) or {})] = content_of(record)
            world.oracle.foreign.add(edited)
            world.note_rewrite(File.CANDIDATES, lines, {}, {})
            world.disk.overwrite(inode, data.replace(old, edited))

        came = came_at(world, number, edit, world.round)
        rest(world)
        if came and edited not in world.lines(File.CANDIDATES):
            raise Violation("another program's edit is lost")
        return came

    at_each_step(prepare, play)


def a_line_that_comes_during_a_replacement(prepare: Prepare) -> None:
    """Another program appends while another file takes the place of the one that it opened."""

    def play(world: World, number: int) -> bool:
        second_line_of_a_decision(world)
        old = world.inode(File.CANDIDATES)
        late: list[bytes] = []
        came = came_at(
            world, number, lambda: late.append(appended(world, File.CANDIDATES, "late")), lambda: rounds(world, 3)
        )
        assert came or world.inode(File.CANDIDATES) is not old, "the file was not replaced"
        rest(world)
        if not set(late) <= set(world.lines(File.CANDIDATES)):
            raise Violation("a line that came during a replacement is lost")
        return came

    at_each_step(prepare, play)


def a_decision_beside_a_line_to_blank(prepare: Prepare) -> None:
    """A rewrite brings an old line of ours back beside the new one, and then comes the next decision."""

    def play(world: World, number: int) -> bool:
        file = File.CANDIDATES
        world.start()
        line = render(fresh("c", 1, file))
        world.ledger.write(lambda tx: tx.put(file, line)).result()
        rest(world)
        (old,) = world.lines(file)
        correct(world, "c")
        rest(world)
        world.clock.sleep(LONG)
        lines = [*world.lines(file), old]
        world.note_rewrite(file, lines, {}, {})
        world.disk.put(world.path(file), b"".join(raw + b"\n" for raw in lines))
        world.ledger.write(lambda tx: review.undo(tx, UndoRequest("c"))).result()
        correct(world, "c")
        last = world.records(file)["c"].raw
        for _ in range(5):
            world.round()
            if last in world.lines(file) and len(world.lines(file)) > 1:
                raise Violation("a reader sees an id twice")
        rest(world)
        return number == 0

    at_each_step(prepare, play)


def a_power_cut_in_a_clean_start(prepare: Prepare) -> None:
    """Another program appended a line while nobody served, and did not sync it."""

    def play(world: World, number: int) -> bool:
        world.start()
        approve_new(world, "first")
        rest(world)
        world.stop()
        appended(world, File.APPROVED, "x")
        world.clock.sleep(LONG)
        came = came_at(world, number, world.kill, lambda: world.start(clean=True))
        is_taken = "x" in world.records(File.APPROVED)
        if came:
            world.power_cut()
            world.start()
        rest(world)
        if is_taken and "x" not in world.records(File.APPROVED):
            raise Violation("what a clean start took in was lost")
        return came

    at_each_step(prepare, play)


def rounds(world: World, count: int) -> None:
    for _ in range(count):
        world.round()


DIRECTED: dict[str, Callable[[Prepare], None]] = {
    "lines to be blanked outlive a kill": a_half_of_ours_that_others_ended,
    "an order is put right by a replacement": a_kill_while_an_order_is_put_right,
    "lines of others are not blanked": a_kill_while_a_later_line_is_taken_in,
    "a displaced file is read on": a_line_for_a_displaced_file,
    "files are exchanged": a_line_that_comes_during_a_replacement,
    "an id with a line to blank is patched": a_decision_beside_a_line_to_blank,
    "a clean start believes what is durable": a_power_cut_in_a_clean_start,
    "the file is looked at before each write": an_edit_of_the_same_size_before_a_write,
}
"""The set piece that finds that this rule is off."""
