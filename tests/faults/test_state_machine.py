"""Any order of decisions, foreign writes, crashes and stops leaves what a plain dict says.

Rounds are driven one by one in this process, with a clock of their own: see `in_process.py`. What the dicts must hold
after each change is in `model.py`; here is what may happen, and what is looked at.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from avocet_grpc.core import ingest, review, runs
from avocet_grpc.core.errors import AlreadyInReview, NotInReview
from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import Action, CandidateFilter, Correction, Decision, ExportSelection, File, UndoRequest
from avocet_grpc.core.record import parse
from avocet_grpc.shared_files.patch import ignore_sigio
from avocet_grpc.shared_files.syncer import NAMES
from tests.faults.in_process import Clock, Crash, CrashingOs, InProcess, replaced
from tests.faults.model import Decided, FileModel, Model, Record, id_of, lines_of
from tests.faults.plain import read_plainly
from tests.faults.support import rounds
from tests.support import write_records

EXAMPLES = rounds(200, 1_000)
STEPS = 50
SHORT_LIVED = Path("/dev/shm")
FILES = st.sampled_from(list(File))
PICKS = st.integers(0, 1_000)


class Machine(RuleBasedStateMachine):
    """One service and its files."""

    def __init__(self) -> None:
        super().__init__()
        self.data = Path(tempfile.mkdtemp(prefix="avocet-", dir=SHORT_LIVED if SHORT_LIVED.is_dir() else None))
        self.clock, self.disk = Clock(), CrashingOs()
        self.everything = contextlib.ExitStack()
        self.everything.enter_context(replaced(self.clock, self.disk))
        self.service = InProcess(self.data, self.clock, self.disk)
        self.model = Model()
        self.paths = {file: self.data / name for file, name in NAMES.items()}
        self.models: dict[File, FileModel] = {
            File.CANDIDATES: self.model.candidates,
            File.APPROVED: self.model.approved,
        }
        self.names = 0
        self.settled: dict[File, set[str]] = {file: set() for file in File}
        """Ids that the service has taken in, and that no other program has touched since."""
        self.touched: dict[File, bool] = dict.fromkeys(File, False)
        self.read_before: dict[File, tuple[float, bytes]] = {}
        self.held: dict[File, IO[bytes]] = {}
        self.answers: list[tuple[Decision, bytes]] = []
        self.settled_before: dict[File, set[str]] = {file: set() for file in File}
        self.deleted: dict[File, dict[str, tuple[Record, Decided | None]]] = {file: {} for file in File}
        self.unsure: dict[File, dict[str, tuple[Record, Decided | None]]] = {file: {} for file in File}
        """What others deleted since all was level, and what of it a crash followed."""

    @initialize(count=st.integers(1, 8))
    def begin(self, count: int) -> None:
        records = [self.new_record() for _ in range(count)]
        write_records(self.paths[File.CANDIDATES], records)
        self.model.candidates.records = {one["id"]: one for one in records}
        self.service.open()
        self.settle()

    def teardown(self) -> None:
        with contextlib.suppress(Crash):
            if self.service.running:
                self.service.crash()
        for handle in self.held.values():
            handle.close()
        self.everything.close()
        shutil.rmtree(self.data)

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
        assert self.service.do(lambda tx: runs.import_run(tx, "run", lines)).imported == count
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
        """A program keeps the file open for appending: no lease is to be had, and its lines come late."""
        if file not in self.held and self.paths[file].exists():
            self.held[file] = open(self.paths[file], "ab", buffering=0)  # noqa: SIM115

    @rule(file=FILES, release=st.booleans())
    def append_by_held_handle(self, file: File, release: bool) -> None:
        if (handle := self.held.get(file)) is None or self.touched[file] or self.ends_torn(file):
            return
        handle.write(self.foreign_line(file, "new", 0) + b"\n")
        self.foreign_came(file)
        if release:
            self.held.pop(file).close()

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

    @rule(file=FILES, share=st.sampled_from([None, 0.0, 0.3, 0.7, 0.95]))
    def damage(self, file: File, share: float | None) -> None:
        """The file is cut somewhere, emptied or deleted. Nobody means it."""
        if self.touched[file] or file in self.held:
            return
        self.settle()
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
        self.settle()
        self.service.wait(70)
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
            self.unsure[file] |= self.deleted[file]
            self.deleted[file].clear()
        self.service.open()

    @rule(delete_ledger=st.booleans())
    def stop_and_start(self, delete_ledger: bool) -> None:
        """A clean stop leaves all in the two files, compact; the next start changes nothing."""
        self.release()
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
        self.settle()

    # What must hold

    @invariant()
    def every_acknowledged_change_is_served(self) -> None:
        if self.service.running:
            for id in self.settled[File.CANDIDATES] - self.untold():
                found = self.service.ask(lambda reader, id=id: reader.candidate(id))
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
        self.release()
        quiet = 0
        for _ in range(60):
            self.service.wait(1.0)
            quiet = quiet + 1 if self.service.round() else 0
            if quiet > 12:
                break
        assert quiet > 12, "it does not come to rest"
        self.check_files()
        self.check_ledger()
        self.settled = {file: set(model.records) for file, model in self.models.items()}
        self.settled_before = {file: set(ids) for file, ids in self.settled.items()}
        self.touched = dict.fromkeys(File, False)
        self.read_before.clear()
        for deleted in self.deleted.values():
            deleted.clear()

    def check_files(self) -> None:
        for file, model in self.models.items():
            data = self.paths[file].read_bytes() if self.paths[file].exists() else b""
            kept, found = Counter(model.kept), dict[str, Any]()
            for raw in lines_of(data):
                if kept[raw] > 0:
                    kept[raw] -= 1
                    continue
                record = json.loads(raw)
                assert record["id"] not in found, f"{file.name}: {record['id']} twice"
                found[record["id"]] = record
            self.resolve(file, found)
            assert not +kept, f"{file.name}: lost {list(kept.elements())}"
            assert found == model.records, difference(file, found, model.records)

    def check_ledger(self) -> None:
        candidates, approved = self.model.candidates, self.model.approved
        stats = self.service.ask(lambda reader: reader.stats(CandidateFilter()))
        kept = list((candidates.kept + approved.kept).elements())
        assert stats.total == len(candidates.records)
        assert stats.malformed == sum(id_of(raw) is None for raw in kept)
        assert stats.duplicate_ids == sum(id_of(raw) is not None for raw in kept)
        statuses = Counter(one.get("status", "unknown") for one in candidates.records.values())
        assert {word: count for word, count in stats.by_status.items() if count} == statuses
        selection = ExportSelection(revision=stats.revision)
        exported = self.service.ask(lambda reader: reader.export_rows(selection, 0, 10_000))
        assert sorted(row.id for row in exported) == sorted(
            id for id, one in approved.records.items() if is_exportable(one)
        )

    # Odds and ends

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def new_record(self) -> dict[str, Any]:
        return {"id": self.name("c"), "status": "needs_review", "task_name": "x", "corrected_response": None, "n": 1.5}

    def pick(self, file: File, number: int) -> str | None:
        # In the order of the model, which is the same in each run; ingested ids are not.
        ids = [id for id in self.models[file].records if id in self.settled[file]]
        return ids[number % len(ids)] if ids else None

    def untold(self) -> set[str]:
        """Ids whose record other programs have changed since all was level."""
        return set(self.models[File.CANDIDATES].records) - self.settled[File.CANDIDATES]

    def ends_torn(self, file: File) -> bool:
        """Whose line runs into a piece that another left, lost it."""
        data = self.paths[file].read_bytes() if self.paths[file].exists() else b""
        return bool(data.rpartition(b"\n")[2])

    def foreign_line(self, file: File, kind: str, pick: int) -> bytes:
        model = self.models[file]
        if kind == "blank":
            return b"  "
        if kind == "malformed":
            raw = b'{"id": "half ' + self.name("m").encode()
            model.kept[raw] += 1
            return raw
        record = self.new_record()
        published = [id for id in model.records if id in self.settled_before[file] & self.settled[file]]
        if kind == "again" and file is File.CANDIDATES and published:
            id = published[pick % len(published)]
            raw = json.dumps(record | {"id": id, "status": "discarded"}).encode()
            model.kept[raw] += 1
            return raw
        if file is File.APPROVED:
            record |= {"status": "approved", "corrected_response": self.name("foreign")}
        model.records[record["id"]] = record
        return json.dumps(record).encode() + (b"\r" if kind == "crlf" else b"")

    def foreign_came(self, file: File) -> None:
        self.read_before.pop(file, None)

    def edit_a_line(self, file: File, lines: list[bytes], pick: int, new_status: str) -> None:
        """Only of a record that stands there as it is now: a contradiction has no plain outcome."""
        model = self.models[file]
        again = {id_of(raw) for raw in model.kept}
        at = pick % len(lines) if lines else 0
        id = id_of(lines[at]) if lines else None
        if id is None or id in again or model.records.get(id) != json.loads(lines[at]):
            return
        if file is File.CANDIDATES and id not in self.settled[file]:
            return
        changes: dict[str, Any] = {"task_name": self.name("edited")}
        if new_status and file is File.CANDIDATES:
            changes["status"] = new_status
        model.records[id] = model.records[id] | changes
        lines[at] = json.dumps(model.records[id]).encode()
        self.settled[file].discard(id)

    def delete_a_line(self, file: File, lines: list[bytes], pick: int) -> None:
        """Not the last one, which would look like damage, and none that our own write brought there just now."""
        model = self.models[file]
        again = {id_of(raw) for raw in model.kept}
        at = pick % len(lines) if lines else 0
        id = id_of(lines[at]) if lines else None
        if id is None or at == len(lines) - 1 or id in again or id in model.ours or id not in self.settled[file]:
            return
        if model.records.get(id) != json.loads(lines[at]):
            return
        decided = self.model.decided.pop(id, None) if file is File.CANDIDATES else None
        self.deleted[file][id] = (model.records.pop(id), decided)
        del lines[at]
        self.settled[file].discard(id)

    def resolve(self, file: File, found: dict[str, Any]) -> None:
        """A deletion that a crash came too soon after may have been taken for what the crash lost: either is right."""
        for id, (record, decided) in self.unsure[file].items():
            if found.get(id) == record:
                self.models[file].records[id] = record
                if decided is not None:
                    self.model.decided[id] = decided
        self.unsure[file].clear()

    def release(self) -> None:
        for handle in self.held.values():
            handle.close()
        self.held.clear()


def difference(file: File, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    ids = sorted(id for id in {**found, **wanted} if found.get(id) != wanted.get(id))
    return "\n".join(f"{file.name}: {id} is {found.get(id)}, wanted {wanted.get(id)}" for id in ids[:5])


@pytest.mark.timeout(EXAMPLES * 10)
def test_any_order_of_events_leaves_what_a_dict_says() -> None:
    ignore_sigio()
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        # A build that is broken on purpose need not be shown by its smallest example.
        phases=[Phase.generate] if os.environ.get("SABOTAGE") else [Phase.generate, Phase.shrink],
    )
    run_state_machine_as_test(Machine, settings=how)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """One whose events a test chooses itself."""
    ignore_sigio()
    made = Machine()
    yield made
    made.teardown()


def test_a_cut_at_the_end_of_a_line_is_damage_though_a_decision_waits_for_another_line(machine: Machine) -> None:
    machine.begin(count=3)
    machine.wait_long()
    machine.submit(pick=0, action=Action.DISCARD, reviewer="", remembered=False)
    path = machine.paths[File.CANDIDATES]
    os.truncate(path, path.read_bytes().rindex(b'{"id"'))
    assert len(lines_of(path.read_bytes())) == 2
    machine.touched[File.CANDIDATES] = True
    machine.settle()
