"""The mirror with one rule switched off at a time: the schedules must find each.

python -m tests.mirror.schedules.broken             # all rules, at most 300 schedules each
python -m tests.mirror.schedules.broken NAME 2000   # one
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import structlog

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Changed, Edit, Expected, Found, How, MirrorReader, Outcome
from avocet_grpc.mirror import shared_file
from avocet_grpc.mirror.displaced import late
from avocet_grpc.mirror.displaced.drain import Drain
from avocet_grpc.mirror.feed import Feed
from avocet_grpc.mirror.inbound import reconcile, without_index
from avocet_grpc.mirror.inbound.look import Looker
from avocet_grpc.mirror.inbound.rules import Mode
from avocet_grpc.mirror.inbound.verdicts import Verdicts
from avocet_grpc.mirror.index import Index
from avocet_grpc.mirror.lines import Kind, Row
from avocet_grpc.mirror.outbound import append, outbox
from avocet_grpc.mirror.outbound.writer import Writer
from tests.mirror.memory_disk import MemoryDisk
from tests.mirror.schedules.directed import DIRECTED
from tests.mirror.schedules.oracle import Violation
from tests.mirror.schedules.run import run
from tests.mirror.schedules.world import World

Break = Callable[[pytest.MonkeyPatch], Callable[[World], None] | None]
"""Breaks the code, or says how to prepare a world that breaks the rule."""


class Changing:
    """The ledger, with something changed in what the mirror says to it, or hears."""

    def __init__(self, ledger: Any) -> None:
        self._ledger: Any = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def _wrapped(wrapper: type[Changing]) -> Callable[[World], None]:
    def prepare(world: World) -> None:
        world.wrapped = wrapper

    return prepare


class _Commands(Changing):
    """Commands whose lines are changed on the way."""

    def found(self, file: File, one: Found, how: How) -> Found:
        return one

    def edit(self, file: File, one: Edit) -> Edit:
        return one

    def gone(self, file: File, id: str, expected: Expected) -> Expected:
        return expected

    def trusts(self, how: How | None, trusted: bool) -> bool:
        return trusted

    def now(self, file: File, id: str) -> Changed | None:
        with self._ledger.view() as view:
            found: dict[str, Changed] = view.changed(file, [id])
        return found.get(id)

    def as_it_is(self, file: File, id: str) -> Expected:
        now = self.now(file, id)
        return Expected(now.digest, now.revision) if now is not None else Expected(None, None)

    def take_in(self, epoch: int, file: File, lines: Sequence[Found], how: How, *, trusted: bool) -> list[Outcome]:
        changed = [self.found(file, one, how) for one in lines]
        outcomes: list[Outcome] = self._ledger.take_in(epoch, file, changed, how, trusted=self.trusts(how, trusted))
        return outcomes

    def accept_edits(self, epoch: int, file: File, edits: Sequence[Edit], *, trusted: bool) -> list[Outcome]:
        changed = [self.edit(file, one) for one in edits]
        outcomes: list[Outcome] = self._ledger.accept_edits(epoch, file, changed, trusted=self.trusts(None, trusted))
        return outcomes

    def accept_deletions(self, epoch: int, file: File, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        changed = [(id, self.gone(file, id, expected)) for id, expected in gone]
        outcomes: list[Outcome] = self._ledger.accept_deletions(epoch, file, changed)
        return outcomes


class LetsKnownVersionsIn(_Commands):
    def trusts(self, how: How | None, trusted: bool) -> bool:
        return True


class ExpectsTheLedgersOwn(_Commands):
    def edit(self, file: File, one: Edit) -> Edit:
        return replace(one, expected=self.as_it_is(file, one.id))

    def gone(self, file: File, id: str, expected: Expected) -> Expected:
        return self.as_it_is(file, id)


class ExpectsTheLedgersOwnInLaterLines(_Commands):
    def found(self, file: File, one: Found, how: How) -> Found:
        return replace(one, expected=self.as_it_is(file, one.line.columns.id if one.line.columns else ""))


class TakesEachEditForRead(_Commands):
    def edit(self, file: File, one: Edit) -> Edit:
        return replace(one, fresh=False)


class ForgetsRemovals(_Commands):
    def found(self, file: File, one: Found, how: How) -> Found:
        return replace(one, unseen=False)


class NeverTrusts(_Commands):
    def trusts(self, how: How | None, trusted: bool) -> bool:
        return False


class _Reader(Changing):
    def changes(self, *what: Any) -> list[Changed]:
        return [msgspec.structs.replace(one, removed_revision=0) for one in self._ledger.changes(*what)]

    def changed(self, file: File, ids: Collection[str]) -> dict[str, Changed]:
        return {
            id: msgspec.structs.replace(one, removed_revision=0) for id, one in self._ledger.changed(file, ids).items()
        }


class ForgetsWhatWasRemovedBefore(Changing):
    @contextmanager
    def view(self) -> Iterator[MirrorReader]:
        with self._ledger.view() as view:
            reader: Any = _Reader(view)
            yield reader


def level_past_what_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Feed, "level_without", lambda self, done: self._read_to)


def forget_what_is_owed(patch: pytest.MonkeyPatch) -> None:
    _at_start(patch, "UPDATE lines SET mark = 0")


def forget_what_is_to_be_blanked(patch: pytest.MonkeyPatch) -> None:
    _at_start(patch, "DELETE FROM lines WHERE kind = 3")


def _at_start(patch: pytest.MonkeyPatch, statement: str) -> None:
    made = Index.__init__

    def opened(self: Index, database: Any) -> None:
        made(self, database)
        database.execute(statement)

    patch.setattr(Index, "__init__", opened)


def keep_old_lines_of_ours(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdicts, "_stale", lambda self, one, record, now: self._add_duplicate(one, now))


def found_lines_are_old(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdicts, "_found_at", lambda self, now: None)


def a_crash_is_like_any_day(patch: pytest.MonkeyPatch) -> None:
    def compare(session: Any, path: Any, image: Any, look: Any, progress: Any) -> Any:
        mode = Mode.RUNNING if look.mode is Mode.CRASHED else look.mode
        return reconcile.reconcile(session, path, image, replace(look, mode=mode), progress)

    patch.setattr(shared_file, "reconcile", compare)


def nothing_is_fresh(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "is_fresh", lambda written_at, mtime: False)


def a_second_same_line_is_a_duplicate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdicts, "_is_copy", lambda self, now: False)


def without_an_index_what_lacks_is_deleted(patch: pytest.MonkeyPatch) -> None:
    def delete(self: Any) -> None:
        session = self._session
        with session.ledger.view() as view:
            records = view.records(session.file, 0, 10_000)
        lines = session.index.lines(session.file, [one.id for one in records])
        gone = [one for one in records if lines.record(one.id) is None]
        session.accept_deletions([(one.id, Expected(one.digest, one.revision)) for one in gone])

    patch.setattr(without_index.Remake, "_note_what_lacks", delete)


def without_an_index_each_edit_counts(patch: pytest.MonkeyPatch) -> None:
    made = without_index.Remake.__init__

    def init(self: Any, *what: Any, is_restored: bool) -> None:
        made(self, *what, is_restored=True)

    patch.setattr(without_index.Remake, "__init__", init)


def do_not_settle_which_line_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdicts, "settle", lambda self: self._respell())


def leave_the_order_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outbox._Plan, "counting", lambda self: None)


def order_by_a_patch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Writer, "_needs_replacement", lambda self, unit: False)


def blank_lines_of_others_too(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Verdicts, "_is_to_keep", lambda self, old, now: False)


def take_damage_at_its_word(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "is_damage", lambda *what, **cut: False)


def do_not_read_displaced_files(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Drain, "_save", lambda self, *what, **named: None)


def append_without_a_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(append, "_may_append", lambda found, noted: True)


def patch_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    from avocet_grpc.mirror.fs.disk import Lease

    patch.setattr(MemoryDisk, "write_lease", lambda self, descriptor: Lease.GRANTED)


def replace_instead_of_exchange(patch: pytest.MonkeyPatch) -> None:
    def plain(self: MemoryDisk, one: Any, other: Any) -> bool:
        self.names_[other] = self.names_.pop(one)
        self.names_[one] = self._inode()
        return True

    patch.setattr(MemoryDisk, "exchange", plain)


def append_beside_a_line_to_blank(patch: pytest.MonkeyPatch) -> None:
    planned = outbox.plan

    def plan(*what: Any) -> Any:
        unit = planned(*what)
        stale = [row for row in unit.blanks if row.kind is Kind.STALE]
        return replace(unit, blanks=tuple(row for row in unit.blanks if row not in stale)) if unit.writes else unit

    patch.setattr(outbox, "plan", plan)


def expected_is_what_the_row_says(patch: pytest.MonkeyPatch) -> None:
    """Also if the line does not stand in the file."""
    patch.setattr(Row, "expected", property(lambda self: Expected(self.content, self.revision)))


def nobody_is_half_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Looker, "_was_held", lambda self: False)
    patch.setattr(Looker, "_was_held_aside", lambda self: False)


def a_clean_start_believes_what_it_finds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shared_file.SharedFile, "_sync_what_others_left", lambda self: None)


def what_is_displaced_says_nothing_of_what_is_missing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(late, "_find_missing", lambda *what: None)


RULES: dict[str, Break] = {
    "a level never passes what waits": level_past_what_waits,
    "lines that were noted before a removal leave": lambda _: _wrapped(ForgetsWhatWasRemovedBefore),
    "a later line counts only over what stands in the file": lambda _: _wrapped(ExpectsTheLedgersOwnInLaterLines),
    "an edit and a deletion count only over what stands in the file": lambda _: _wrapped(ExpectsTheLedgersOwn),
    "what the file owes outlives a kill": forget_what_is_owed,
    "lines to be blanked outlive a kill": forget_what_is_to_be_blanked,
    "a known version does not come back": lambda _: _wrapped(LetsKnownVersionsIn),
    "an old line of ours is blanked": keep_old_lines_of_ours,
    "a version of ours that is found counts as written now": found_lines_are_old,
    "after a crash nothing is deleted, and no edit replaces a decision": a_crash_is_like_any_day,
    "what was written just now is not deleted": nothing_is_fresh,
    "an edit over a fresh version must hold what it set": lambda _: _wrapped(TakesEachEditForRead),
    "what was undone does not come back by a rewrite": lambda _: _wrapped(ForgetsRemovals),
    "after a crash a second line with the bytes of the record is ours": a_second_same_line_is_a_duplicate,
    "a clean start trusts the files": lambda _: _wrapped(NeverTrusts),
    "a clean start believes what is durable": a_clean_start_believes_what_it_finds,
    "without an index nothing is deleted": without_an_index_what_lacks_is_deleted,
    "without an index no edit replaces a decision": without_an_index_each_edit_counts,
    "one function says which line counts": do_not_settle_which_line_counts,
    "the order in the file says which line counts": leave_the_order_as_it_comes,
    "an order is put right by a replacement": order_by_a_patch,
    "lines of others are not blanked": blank_lines_of_others_too,
    "damage is not a deletion": take_damage_at_its_word,
    "a displaced file is read on": do_not_read_displaced_files,
    "the file is looked at before each write": append_without_a_look,
    "a patch is made under a lease": patch_without_a_lease,
    "files are exchanged": replace_instead_of_exchange,
    "an id with a line to blank is patched": append_beside_a_line_to_blank,
    "expected is absent if the line does not stand": expected_is_what_the_row_says,
    "who has a file open may be half-way through it": nobody_is_half_way,
    "what goes on in a displaced file is not deleted": what_is_displaced_says_nothing_of_what_is_missing,
}


def first_caught(name: str, seeds: Sequence[int]) -> tuple[str, str] | None:
    """The set piece, or the first of the seeds, that finds that the rule is off, and what it finds."""
    with pytest.MonkeyPatch.context() as patch:
        prepare = RULES[name](patch) or (lambda world: None)
        if name in DIRECTED:
            try:
                DIRECTED[name](prepare)
            except Violation as violation:
                return DIRECTED[name].__name__, str(violation)
        for seed in seeds:
            try:
                what = run(seed, prepare)[0]
            except (AssertionError, ValueError, LookupError, TypeError) as error:
                what = f"{type(error).__name__}: {error}"
            if what:
                return f"seed {seed}", what
    return None


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    names = [sys.argv[1]] if len(sys.argv) > 1 else list(RULES)
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    missed = 0
    for name in names:
        caught = first_caught(name, range(most))
        missed += caught is None
        print(f"{name}: " + (f"{caught[0]}: {caught[1][:110]}" if caught else f"not in {most}"), flush=True)
    raise SystemExit(bool(missed))


if __name__ == "__main__":
    main()
