"""A service, its two files and other programs, in any order: the real ledger and mirror on a disk in memory."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from avocet_grpc.core import review
from avocet_grpc.core.errors import AlreadyInReview, NotInReview
from avocet_grpc.core.model import Action, Decision, File, UndoRequest
from avocet_grpc.core.record import render
from avocet_grpc.layout import DataDirectory
from avocet_grpc.mirror.index import Index
from avocet_grpc.mirror.mirror import Mirror
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode
from tests.mirror.memory_disk import Inode, MemoryClock, MemoryDisk
from tests.mirror.schedules.content import Content, content_of, fresh, lines_of, record_of, spell
from tests.mirror.schedules.half_done import Piece, Reading
from tests.mirror.schedules.oracle import JudgedLedger, Oracle, Violation, check_at_rest


class Kill(BaseException):
    """The mirror was killed here."""


class World:
    """One schedule's world. `wrapped` may put something between the mirror and the ledger, to break a rule."""

    def __init__(self, seed: int, directory: Path, *, beside: bool) -> None:
        self.random = Random(seed)
        self.directory, self.beside = DataDirectory(directory), beside
        self.directory.private.mkdir()
        self.clock = MemoryClock()
        self.disk = MemoryDisk(self.clock)
        self.disk.before = self.step
        self.oracle = Oracle()
        self.ledger = SqliteLedger(None, encode)
        self.mirror: Mirror | None = None
        self.number = 100
        self.readings: list[Reading] = []
        self.held: list[tuple[Inode, File]] = []
        self.pieces: dict[File, Piece] = {}
        self.log: list[str] = []
        self.countdown = 10**9
        self.action: Callable[[], None] = lambda: None
        self.busy = False
        self.wrapped: Callable[[Any], Any] = lambda ledger: ledger
        for file in File:
            self.disk.put(self.path(file), b"")
        self.disk.synced_names = dict(self.disk.names_)

    def path(self, file: File) -> Path:
        return self.directory.shared_file(file)

    def lines(self, file: File) -> list[bytes]:
        return lines_of(self.disk.content(self.path(file)))

    def inode(self, file: File) -> Inode | None:
        return self.disk.names_.get(self.path(file))

    def new(self) -> int:
        self.number += 1
        return self.number

    def say(self, *what: object) -> None:
        self.log.append(f"t={self.clock.passed:.0f} " + " ".join(str(one) for one in what))

    def step(self, leased: bool) -> None:
        """The mirror is about to do something: others may come now, unless our lease keeps them away."""
        if self.busy:
            return
        self.countdown -= 1
        if self.countdown < 0:
            self.countdown = self.random.choice([0, 1, 2, 5, 12])
            if leased and self.action != self.kill:
                return
            self.busy = True
            try:
                self.action()
            finally:
                self.busy = False

    # --- the service

    def serve(self) -> None:
        """One call that the service acknowledges."""
        candidates = self.records(File.CANDIDATES)
        dice = self.random.random()
        if (dice < 0.15 and len(candidates) < 12) or not candidates:
            self._ingest()
            return
        id = self.random.choice(sorted(candidates))
        if dice < 0.65:
            self._submit(id)
        else:
            self._undo(id)

    def records(self, file: File) -> dict[str, Any]:
        """The records of a file as the ledger has them, by id."""
        with self.ledger.mirror().view() as view:
            return {one.id: one for one in view.records(file, 0, 10_000)}

    def _ingest(self) -> None:
        id = f"i{self.new()}"
        record = {"id": id, "status": "approved", "task_name": "n0", "corrected_response": f"d{self.new()}"}
        line = render(record)
        self.ledger.write(lambda tx: (tx.put(File.CANDIDATES, line), tx.put(File.APPROVED, line))).result()
        self.oracle.removed_by_service -= {(file, id) for file in File}
        self.say("SERVICE ingest", id)

    def _submit(self, id: str) -> None:
        approves = self.random.random() < 0.7
        decision = Decision(id, Action.CORRECT, f"d{self.new()}") if approves else Decision(id, Action.DISCARD, "")
        try:
            self.ledger.write(lambda tx: review.submit(tx, decision)).result()
        except NotInReview:
            return
        self.oracle.decided(File.CANDIDATES, id)
        if approves:
            self.oracle.decided(File.APPROVED, id)
            self.oracle.removed_by_service.discard((File.APPROVED, id))
        self.say("SERVICE submit", id, decision.action.value, decision.corrected_response)

    def _undo(self, id: str) -> None:
        was_approved = id in self.records(File.APPROVED)
        try:
            self.ledger.write(lambda tx: review.undo(tx, UndoRequest(id))).result()
        except AlreadyInReview:
            return
        self.oracle.decided(File.CANDIDATES, id)
        self.oracle.decided(File.APPROVED, id)
        if was_approved:
            self.oracle.removed_by_service.add((File.APPROVED, id))
        self.say("SERVICE undo", id)

    # --- other programs

    def append(self, file: File, inode: Inode | None = None) -> None:
        """Append a malformed line, a new record, or another line of a known id."""
        inode = inode or self.inode(file)
        if inode is None:
            return
        dice, number = self.random.random(), self.new()
        with self.ledger.mirror().view() as view:
            known = sorted({one.id for one in view.records(file, 0, 10_000)})
        if dice < 0.25:
            raw = b'{"torn %d' % number
        elif dice < 0.6 or not known:
            raw = self.added(file, fresh(f"x{number}", number, file), number)
        else:
            raw = self.added(file, self._again(self.random.choice(known), number, file), number)
        self.oracle.foreign.add(raw)
        self.disk.add(inode, raw + b"\n")
        self.say("foreign appends", file.name, raw, "to", inode.number)

    def _again(self, id: str, number: int, file: File) -> dict[str, Any]:
        record: dict[str, Any] = {"id": id, "task_name": f"n{number}"}
        kind = self.random.randrange(4)
        if kind == 0:
            return record | {"status": "needs_review"}
        if kind == 3:
            return record | {"status": "approved", "corrected_response": " "}
        return record | {"status": "approved", "corrected_response": f"d{number}"}

    def added(self, file: File, record: dict[str, Any], number: int) -> bytes:
        """Return a line that another program is about to append."""
        self.oracle.appended(file, record, self.lines(file))
        return spell(record, number)

    def read(self, file: File) -> None:
        deleted = {id: seen for (of, id), seen in self.oracle.deleted.items() if of is file}
        self.readings.append(Reading(file, self.lines(file), self.clock.passed, deleted))
        self.say("foreign reads", file.name)

    def rewrite(self, reading: Reading, *, pieces: bool = False) -> None:
        """Write the whole file as it was read, changed in one way; `pieces`: perhaps its first lines alone for now."""
        file, out, oracle = reading.file, list(reading.lines), self.oracle
        numbered = [(at, record) for at, raw in enumerate(out) if (record := record_of(raw)) is not None]
        dice, what, deleted = self.random.random(), "as it was", dict[str, set[Content]]()
        if numbered and dice < 0.35:
            at, record = self.random.choice(numbered)
            out[at] = self._edited(file, record, reading.lines)
            what = f"edit {record['id']}"
        elif numbered and dice < 0.6:
            id = self.random.choice(numbered)[1]["id"]
            deleted[id] = {content_of(record) for _, record in numbered if record["id"] == id}
            out = [raw for raw in out if (record_of(raw) or {}).get("id") != id]
            what = f"delete {id}"
        elif numbered and dice < 0.7:
            at, record = self.random.choice(numbered)
            out[at] = b"{" + b" " * (self.new() % 50 + 1) + json.dumps(record).encode()[1:]
            oracle.foreign.add(out[at])
            what = f"respell {record['id']}"
        if self.random.random() < 0.2:
            number = self.new()
            record = fresh(f"x{number}", number, file)
            raw = spell(record, number)
            oracle.foreign.add(raw)
            oracle.appended(file, record, ())
            out.insert(self.random.randrange(len(out) + 1), raw)
            what += " + new"
        self.note_rewrite(file, out, deleted, reading.deleted)
        self._put(file, out, what, reading, pieces=pieces)

    def _edited(self, file: File, record: dict[str, Any], read: list[bytes]) -> bytes:
        number = self.new()
        if self.random.random() < 0.5:
            after = record | {"task_name": f"n{number}"}
        else:
            after = record | {"status": "approved", "corrected_response": f"d{number}"}
        raw = spell(after, number)
        self.oracle.edited(file, record, after, read)
        self.oracle.foreign.add(raw)
        return raw

    def note_rewrite(
        self, file: File, out: list[bytes], deleted: dict[str, set[Content]], before_reading: dict[str, set[Content]]
    ) -> None:
        """Another program writes these lines; it deletes `deleted`; the others were gone before it read."""
        oracle, before = self.oracle, self.lines(file)
        after = {record["id"] for raw in out if (record := record_of(raw)) is not None}
        was = {record["id"] for raw in before if (record := record_of(raw)) is not None}
        for key in [key for key in oracle.deleted if key[0] is file and key[1] in after]:
            del oracle.deleted[key]
        # What a stale rewrite had put back, one that was read after the deletion deletes again.
        again = {id: seen for id, seen in before_reading.items() if id in was - after}
        for id, seen in (again | deleted).items():
            oracle.deletes(file, id, seen, self.clock.passed)
        oracle.omitted |= {(file, id) for id in was - after}
        for raw in before:
            if raw not in out and (record := record_of(raw)) is not None:
                oracle.omitted_lines.add((file, record["id"], content_of(record)))
        for raw in oracle.observed[file] - set(out):
            oracle.observed[file].discard(raw)
            oracle.done.add((file, raw))

    def _put(self, file: File, out: list[bytes], what: str, reading: Reading, *, pieces: bool) -> None:
        data = b"".join(raw + b"\n" for raw in out)
        inode = self.inode(file)
        how = "in place"
        if inode is None or self.random.random() < 0.5:
            self.disk.put(self.path(file), data)
            how = "by rename"
        elif pieces and self.random.random() < 0.5:
            cut = len(b"".join(raw + b"\n" for raw in out[: self.random.randrange(len(out) + 1)]))
            self.disk.overwrite(inode, data[:cut])
            inode.holders += 1
            self.pieces[file] = Piece(inode, data[cut:], self.clock.passed)
            how = f"in place, {cut} bytes of {len(data)} at first"
        else:
            self.disk.overwrite(inode, data)
        self.say("foreign rewrites", file.name, f"(read at {reading.at:.0f})", how, what)

    def write_rest(self, file: File) -> None:
        """The program that writes the whole file writes the rest of it, and closes it."""
        piece = self.pieces.pop(file)
        self.disk.add(piece.inode, piece.rest)
        piece.inode.holders -= 1
        self.say("foreign writes the rest of", file.name, "to", piece.inode.number)

    def damage(self, file: File) -> None:
        inode, lines = self.inode(file), self.lines(file)
        if inode is None or not lines:
            return
        keep = [] if self.random.randrange(3) == 0 else lines[: self.random.randrange(len(lines))]
        # A proper prefix, blanks and all.
        data = bytes(inode.data)
        end = data.index(keep[-1]) + len(keep[-1]) + 1 if keep else 0
        self.disk.overwrite(inode, data[:end])
        self.say("DAMAGE", file.name, f"keeps {len(keep)}")

    def hold(self, file: File) -> None:
        if (inode := self.inode(file)) is not None:
            inode.holders += 1
            self.held.append((inode, file))
            self.say("foreign holds", inode.number)

    def let_go(self) -> None:
        inode, file = self.held.pop(self.random.randrange(len(self.held)))
        if self.random.random() < 0.6:
            self.append(file, inode)
        inode.holders -= 1
        self.say("foreign lets go of", inode.number)

    def let_all_go(self) -> None:
        for inode, _ in self.held:
            inode.holders -= 1
        self.held = []

    # --- the mirror

    def start(self, clean: bool = False) -> None:
        # A clean start that was killed before it noted anything is followed by another clean one.
        self.oracle.clean = clean or not self.disk.exists(self.directory.running)
        self.oracle.time = self.oracle.started = self.clock.passed
        self.say("START", "clean" if self.oracle.clean else "")
        ledger = JudgedLedger(self.ledger.mirror(), self.oracle, self)
        self.mirror = Mirror(self.wrapped(ledger), self.directory.root, self.disk, self.clock)
        self.mirror.adopt()
        self.oracle.clean = False
        self.see()

    def kill(self) -> None:
        raise Kill

    def killed(self) -> None:
        """What a kill leaves."""
        if self.mirror is not None:
            self.mirror.close()
        self.mirror = None
        self.disk.kill()
        self.say("KILL")

    def power_cut(self) -> None:
        self.held, self.readings, self.pieces = [], [], {}
        self.disk.power_cut(self.random)
        self.say("POWER CUT")

    def lose_index(self) -> None:
        Index.remove(self.directory.index)
        for file in File:
            self.oracle.observed[file].clear()
        self.say("INDEX LOST")

    def lose_private(self) -> None:
        """`.avocet` was deleted after a clean stop: another ledger, and no index."""
        self.lose_index()
        self.ledger.close()
        self.ledger = SqliteLedger(None, encode)
        data = [data for file in File for data in self.disk.versions(self.path(file))]
        self.oracle.foreign |= {raw for one in data for raw in lines_of(one)}
        self.oracle.removed_by_service.clear()
        self.oracle.deleted.clear()
        self.say(".avocet DELETED")

    def round(self) -> bool:
        assert self.mirror is not None
        self.oracle.time = self.clock.passed
        failures = self.mirror.failures
        level = self.mirror.round()
        if self.mirror.failures > failures:
            raise Violation(f"a round failed: {self.mirror._said}")
        self.see()
        return level

    def is_level(self, file: File) -> bool:
        """Whether the mirror has taken in all that stands in the file."""
        assert self.mirror is not None
        inode, image = self.inode(file), self.mirror._files[file].image
        if inode is None or (noted := image.signature) is None:
            return False
        same = (noted.inode, noted.size, noted.mtime_ns, noted.ctime_ns)
        return image.is_read and same == (inode.number, len(inode.data), inode.mtime_ns, inode.ctime_ns)

    def see(self) -> None:
        for file in File:
            if self.is_level(file):
                self.oracle.looked[file] = self.clock.passed
                self.oracle.saw(file, self.lines(file))

    def come_to_rest(self) -> None:
        """Nobody else does anything, until it is level for long."""
        calm = 0
        for _ in range(400):
            calm = calm + 1 if self.round() else 0
            self.clock.sleep(3)
            if calm > 30:
                return
        raise Violation("it does not come to rest")

    def check(self) -> None:
        self.busy = True
        for file in File:
            check_at_rest(self.ledger.mirror(), self.oracle, file, self.disk.content(self.path(file)))
        self.busy = False

    def stop(self) -> None:
        assert self.mirror is not None
        if not self.mirror.stop(600.0):
            raise Violation("it does not stop")
        self.mirror = None
        self.say("CLEAN STOP")

    def state(self) -> object:
        """What a second start must not change."""
        records = [(file, id, one.raw, one.revision) for file in File for id, one in self.records(file).items()]
        return [self.disk.content(self.path(file)) for file in File], sorted(records)


def temporary() -> tempfile.TemporaryDirectory[str]:
    """A directory for the index, in memory if there is such a place."""
    shm = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="avocet-", dir=shm if shm.is_dir() else None)
