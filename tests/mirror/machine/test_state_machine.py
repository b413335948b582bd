"""Any order of decisions, foreign writes, crashes and stops leaves what a plain dict says.

Rounds are driven one by one in this process, with a clock of their own: see `in_process.py`. What the dicts must hold
after each change is in `model.py`; here is what may happen, and what is looked at.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from avocet_grpc.core import imports, ingest, review
from avocet_grpc.core.errors import AlreadyInReview, NotInReview
from avocet_grpc.core.model import Action, Correction, Decision, File, UndoRequest
from avocet_grpc.core.record import parse
from avocet_grpc.mirror.fs.lease import ignore_sigio
from avocet_grpc.mirror.inbound.look import SETTLE_S
from tests.faults.plain import read_plainly
from tests.faults.support import WHOLE, rounds
from tests.mirror.in_process import Crash
from tests.mirror.machine.model import id_of, lines_of
from tests.mirror.machine.stage import Stage
from tests.support import write_records

EXAMPLES = rounds(200, 1_000)
STEPS = 50
FILES = st.sampled_from(list(File))
PICKS = st.integers(0, 1_000)


class Machine(Stage):
    """What may happen: the rules."""

    @initialize(count=st.integers(1, 8))
    def begin(self, count: int) -> None:
        records = [self.new_record() for _ in range(count)]
        write_records(self.paths[File.CANDIDATES], records)
        self.model.candidates.records = {one["id"]: one for one in records}
        self.service.open()
        self.come_to_rest()

    # What callers do

    @rule(
        pick=PICKS,
        action=st.sampled_from(list(Action)),
        reviewer=st.sampled_from(["", "ada"]),
        remembered=st.booleans(),
    )
    def submit(self, pick: int, action: Action, reviewer: str, remembered: bool) -> None:
        if (id := self.pick(File.CANDIDATES, pick)) is None:
            return
        text = self.name("text") if action is Action.CORRECT else ""
        decision = Decision(id, action, text, reviewer=reviewer, request_id=self.name("request") if remembered else "")
        if not self.model.in_review(id):
            with pytest.raises(NotInReview):
                self.service.do(lambda tx: review.submit(tx, decision))
            return
        answer = self.service.do(lambda tx: review.submit(tx, decision))
        self.model.submit(id, action, text, reviewer, answer.raw)
        if remembered:
            self.answers.append((decision, answer.raw))

    @rule(pick=PICKS)
    def undo(self, pick: int) -> None:
        if (id := self.pick(File.CANDIDATES, pick)) is None or id in self.untold():
            return
        if self.model.in_review(id):
            with pytest.raises(AlreadyInReview):
                self.service.do(lambda tx: review.undo(tx, UndoRequest(id)))
            return
        self.model.undo(id, self.service.do(lambda tx: review.undo(tx, UndoRequest(id))).raw)

    @precondition(lambda self: self.answers)
    @rule(pick=PICKS)
    def send_again(self, pick: int) -> None:
        """A request id that was answered before gets the first answer, and changes nothing."""
        decision, answer = self.answers[pick % len(self.answers)]
        assert self.service.do(lambda tx: review.submit(tx, decision)).raw == answer

    @rule(pick=PICKS, action=st.sampled_from(list(Action)))
    def submit_twice(self, pick: int, action: Action) -> None:
        """The answer did not reach the caller, who sends the same request again at once."""
        self.submit(pick, action, "", remembered=True)
        if self.answers:
            self.send_again(len(self.answers) - 1)

    @rule()
    def ingest(self) -> None:
        correction = Correction("peregrine", "code", "1+1?", "3", self.name("correction"))
        made = self.service.do(lambda tx: ingest.ingest(tx, correction))
        record = json.loads(self.service.ask(lambda reader: reader.candidate(made.id)).raw)
        assert (record["corrected_response"], record["status"]) == (correction.correction, "approved")
        self.model.born(record, approved=True)
        for file in File:
            self.settled[file].add(made.id)

    @rule(count=st.integers(1, 4))
    def import_run(self, count: int) -> None:
        records = [self.new_record() for _ in range(count)]
        lines = [parse(json.dumps(one).encode()) for one in records]
        assert self.service.do(lambda tx: imports.import_run(tx, "run", lines)).imported == count
        for one in records:
            self.model.born(one, approved=False)
            self.settled[File.CANDIDATES].add(one["id"])

    # What other programs do

    @rule(file=FILES, kind=st.sampled_from(["new", "new", "malformed", "again", "crlf", "blank"]), pick=PICKS)
    def append(self, file: File, kind: str, pick: int) -> None:
        if self.touched[file] or self.ends_torn(file):
            return
        raw = self.foreign_line(file, kind, pick)
        with open(self.paths[file], "ab", buffering=0) as out:
            out.write(raw + b"\n")
        self.foreign_came(file)

    @rule(file=FILES)
    def hold(self, file: File) -> None:
        """A program keeps the file open for appending: no lease can be taken, and its lines come late."""
        if file not in self.held and self.paths[file].exists():
            self.held[file] = open(self.paths[file], "ab", buffering=0)  # noqa: SIM115

    @rule(file=FILES, pick=PICKS)
    def hold_over_a_decision(self, file: File, pick: int) -> None:
        """It has the file open while a decision is brought there, so that a swap takes the file away from it."""
        self.hold(file)
        self.submit(pick, Action.CORRECT, "", remembered=False)
        for _ in range(4):
            self.look(0.3)

    @rule(picks=st.tuples(PICKS, PICKS, PICKS), late=st.booleans(), crash_at=st.none() | st.integers(0, 20))
    def hold_again_over_a_decision(self, picks: tuple[int, int, int], late: bool, crash_at: int | None) -> None:
        """Another program does so once the first has let go: what was displaced serves again."""
        self.hold_over_a_decision(File.CANDIDATES, picks[0])
        if late:
            self.append_by_held_handle(File.CANDIDATES, release=False)
        self.let_go(File.CANDIDATES)
        self.submit(picks[1], Action.DISCARD, "", remembered=False)
        self.look(0.3)
        if crash_at is None:
            self.hold_over_a_decision(File.CANDIDATES, picks[2])
        else:
            self.hold(File.CANDIDATES)
            self.submit(picks[2], Action.CORRECT, "", remembered=False)
            self.look(0.3)
            self.crash(at=[crash_at], first_round=True)

    @rule(file=FILES, release=st.booleans())
    def append_by_held_handle(self, file: File, release: bool) -> None:
        if (handle := self.held.get(file)) is None or self.touched[file] or self.ends_torn(file):
            return
        line = self.foreign_line(file, "new", 0)
        handle.write(line + b"\n")
        if os.fstat(handle.fileno()).st_ino != self.paths[file].stat().st_ino:
            # A swap took the file away from it: the line comes to the other by a write of ours.
            self.models[file].ours.add(id_of(line) or "")
        self.foreign_came(file)
        if release:
            self.let_go(file)

    @rule(file=FILES)
    def read_to_rewrite(self, file: File) -> None:
        if not self.touched[file] and self.paths[file].exists():
            self.read_before[file] = (self.clock.monotonic(), self.paths[file].read_bytes())

    @rule(
        file=FILES,
        edit=st.none() | PICKS,
        delete=st.none() | PICKS,
        add=st.booleans(),
        replace=st.booleans(),
        new_status=st.sampled_from(["", "needs_review", "approved", "pending"]),
    )
    def rewrite(
        self, file: File, edit: int | None, delete: int | None, add: bool, replace: bool, new_status: str
    ) -> None:
        """A whole rewrite of what was read up to 5 s ago, with changes of the program's own."""
        if self.touched[file] or file in self.held or not self.paths[file].exists():
            return
        read_at, data = self.read_before.pop(file, (0.0, b""))
        if self.clock.monotonic() - read_at > 5:
            data = self.paths[file].read_bytes()
        lines = lines_of(data)
        if edit is not None:
            self.edit_a_line(file, lines, edit, new_status)
        if delete is not None:
            self.delete_a_line(file, lines, delete)
        if add:
            lines.append(self.foreign_line(file, "new", 0))
        out = b"".join(line + b"\n" for line in lines)
        if replace:
            (self.data / "draft").write_bytes(out)
            os.replace(self.data / "draft", self.paths[file])
        else:
            self.paths[file].write_bytes(out)
        self.foreign_came(file)

    @rule(
        file=FILES,
        pick=PICKS,
        action=st.none() | st.sampled_from(list(Action)),
        edits_it=st.booleans(),
        replace=st.booleans(),
        looks=st.integers(0, 3),
    )
    def rewrite_over_a_decision(
        self, file: File, pick: int, action: Action | None, edits_it: bool, replace: bool, looks: int
    ) -> None:
        """A program reads the file, a decision (or, without an action, an undo) is brought there, and the program
        writes what it read, perhaps with another value in the very record: it has not seen the decision."""
        if file in self.held or (id := self.pick(File.CANDIDATES, pick)) is None:
            return
        self.read_to_rewrite(file)
        if action is None:
            self.undo(pick)
        else:
            self.submit(pick, action, "", remembered=False)
        for _ in range(looks):
            self.look(0.3)
        if edits_it and file in self.read_before:
            read_at, data = self.read_before[file]
            self.read_before[file] = read_at, self.with_a_stale_edit(file, data, id)
        self.rewrite(file, edit=None, delete=None, add=False, replace=replace, new_status="")

    @rule(file=FILES, share=st.sampled_from([None, 0.0, 0.3, 0.7, 0.95]))
    def damage(self, file: File, share: float | None) -> None:
        """The file is cut somewhere, emptied or deleted. Nobody means it."""
        if self.touched[file] or file in self.held:
            return
        self.come_to_rest()
        path = self.paths[file]
        if not path.exists() or not path.stat().st_size:
            return
        if share is None:
            path.unlink()
        else:
            data = path.read_bytes()
            os.truncate(path, int(len(data) * share))
            *whole, torn = path.read_bytes().split(b"\n")
            if torn.strip() and id_of(torn) is None:
                # Where such a piece stood behind the cut before, this one is taken for it.
                kept = self.models[file].kept
                kept[torn] = max(kept[torn], whole.count(torn) + 1)
        self.models[file].ours |= self.models[file].records.keys()
        self.foreign_came(file)
        self.touched[file] = True

    # What time and faults do

    @rule(seconds=st.sampled_from([0.0, 0.3, 0.3, 1.0, 6.0]))
    def look(self, seconds: float) -> None:
        self.service.wait(seconds)
        self.service.round()

    @rule()
    def wait_long(self) -> None:
        """Everything is level, and what we wrote is no longer fresh."""
        self.come_to_rest()
        self.service.wait(70)
        # Who changes a file after this look has changed it long after we wrote.
        self.service.round()
        for model in self.models.values():
            model.ours.clear()

    @rule(at=st.lists(st.integers(0, 40), max_size=3), first_round=st.booleans())
    def crash(self, at: list[int], first_round: bool) -> None:
        """At the n-th thing that happens to the disk; with more than one number, the recovery crashes as well."""
        for number, left in enumerate(at):
            self.disk.left = left
            try:
                if number == 0 and first_round:
                    self.service.wait(0.3)
                    self.service.round()
                elif number > 0:
                    self.service.open()
            except Crash:
                pass
            self.service.crash()
        if not at:
            self.service.crash()
        for file in File:
            self.is_unsure(file)
        self.service.open()

    @rule(delete_ledger=st.booleans())
    def stop_and_start(self, delete_ledger: bool) -> None:
        """A clean stop leaves all in the two files, compact; the next start changes nothing."""
        self.release()
        for file in File:
            if self.clock.monotonic() - self.let_go_at[file] < SETTLE_S:
                self.is_unsure(file)
        assert self.service.stop()
        self.check_files()
        before = {file: self.paths[file].read_bytes() for file in File}
        for data in before.values():
            assert b"\n\n" not in data and b"\n " not in data
        self.read_before.clear()
        if delete_ledger:
            shutil.rmtree(self.data / ".avocet")
            self.answers.clear()
            self.model.decided.clear()
        self.service.open()
        self.service.round()
        assert {file: self.paths[file].read_bytes() for file in File} == before
        self.come_to_rest()

    # What must hold

    @invariant()
    def every_acknowledged_change_is_served(self) -> None:
        if self.service.running:
            ids = self.settled[File.CANDIDATES] - self.untold()
            answers = self.service.ask(lambda reader: {id: reader.candidate(id) for id in ids})
            for id, found in answers.items():
                served = json.loads(found.raw) if found else None
                wanted = self.model.candidates.records[id]
                assert served == wanted, f"served {served}, wanted {wanted}"

    @invariant()
    def a_plain_reader_sees_whole_records_none_missing_and_none_twice(self) -> None:
        for file, model in self.models.items():
            if self.touched[file] or not self.paths[file].exists():
                continue
            view = read_plainly(self.paths[file].read_bytes())
            again = {id_of(raw) for raw in model.kept}
            assert not [id for id in view.twice() if id not in again]
            assert not view.torn.strip() or view.torn in model.kept
            assert not Counter(view.unreadable) - model.kept
            if file is File.CANDIDATES:
                assert not [id for id in self.settled_before[file] & model.records.keys() if id not in view.ids]

    @rule()
    def settle(self) -> None:
        """Nobody does anything for a while: then all must agree."""
        self.come_to_rest()


@pytest.mark.timeout(EXAMPLES * 10)
def test_any_order_of_events_leaves_what_a_dict_says() -> None:
    ignore_sigio()
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        # The same examples each time in the short form and for a build that is broken on purpose, else new ones.
        derandomize=not WHOLE or bool(os.environ.get("SABOTAGE")),
        suppress_health_check=list(HealthCheck),
        # A build that is broken on purpose need not be shown by its smallest example.
        phases=[Phase.generate] if os.environ.get("SABOTAGE") else [Phase.generate, Phase.shrink],
    )
    run_state_machine_as_test(Machine, settings=how)
