"""Where the state machine plays: one service in this process, its files, the model, and what others have done."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO, Any

from hypothesis.stateful import RuleBasedStateMachine

from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import CandidateFilter, Decision, ExportSelection, File
from avocet_grpc.layout import SHARED_FILES as NAMES
from tests.exports import exports
from tests.mirror.in_process import Crash, CrashingDisk, InProcess, SteppedClock
from tests.mirror.machine.model import Decided, FileModel, Model, Record, id_of, lines_of

SHORT_LIVED = Path("/dev/shm")


class Stage(RuleBasedStateMachine):
    """What happens on it is in the rules of a subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.data = Path(tempfile.mkdtemp(prefix="avocet-", dir=SHORT_LIVED if SHORT_LIVED.is_dir() else None))
        self.clock, self.disk = SteppedClock(), CrashingDisk()
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
        self.let_go_at = dict.fromkeys(File, -math.inf)
        self.answers: list[tuple[Decision, bytes]] = []
        self.settled_before: dict[File, set[str]] = {file: set() for file in File}
        self.deleted: dict[File, dict[str, tuple[Record, Decided | None]]] = {file: {} for file in File}
        self.unsure: dict[File, dict[str, tuple[Record, Decided | None]]] = {file: {} for file in File}
        """What others deleted since all was level, and what of it a crash followed, or a stop beside a writer."""

    def teardown(self) -> None:
        with contextlib.suppress(Crash):
            if self.service.running:
                self.service.crash()
        for handle in self.held.values():
            handle.close()
        shutil.rmtree(self.data)

    def come_to_rest(self) -> None:
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
            for raw in [raw for raw in +kept if self.is_half_of_ours(raw)]:
                # The service may take the torn beginning of a line that it has whole for its own, and blank it.
                model.kept[raw] -= kept.pop(raw)
            model.kept = +model.kept
            assert not +kept, f"{file.name}: lost {list(kept.elements())}"
            assert found == model.records, difference(file, found, model.records)

    def is_half_of_ours(self, raw: bytes) -> bool:
        """Whether it is malformed, and begins like the line of a record that the service has written."""
        begins = [b'{"id": "' + id.encode() for model in self.models.values() for id in model.records]
        return id_of(raw) is None and any(raw.startswith(one) or one.startswith(raw) for one in begins)

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
        exported = self.service.ask(lambda reader: exports(reader).export_batch(selection, 0, 10_000, 1 << 30))
        ids = exported.ids.decode().split() if exported is not None else []
        assert sorted(ids) == sorted(id for id, one in approved.records.items() if is_exportable(one))

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
        # Over what was decided in the last minute, an edit of the status may come from a reading before.
        if new_status and file is File.CANDIDATES and id not in model.ours:
            changes["status"] = new_status
        model.records[id] = model.records[id] | changes
        lines[at] = json.dumps(model.records[id]).encode()
        self.settled[file].discard(id)

    def with_a_stale_edit(self, file: File, data: bytes, id: str) -> bytes:
        """What was read, with the line of the record edited if a decision has changed its status since: it is void.

        An edit that has all that the last decision set counts, whatever its author has read.
        """
        now = self.models[file].records.get(id, {})
        lines = lines_of(data)
        for at, raw in enumerate(lines):
            if id_of(raw) != id or raw in self.models[file].kept:
                continue
            if json.loads(raw).get("status") != now.get("status"):
                lines[at] = json.dumps(json.loads(raw) | {"task_name": self.name("edited")}).encode()
        return b"".join(line + b"\n" for line in lines)

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

    def is_unsure(self, file: File) -> None:
        """What others deleted in the file may be there or not."""
        self.unsure[file] |= self.deleted[file]
        self.deleted[file].clear()

    def resolve(self, file: File, found: dict[str, Any]) -> None:
        """Either is right for a deletion that a crash came too soon after: it may pass for what the crash lost.

        So it is if a stop came while a program might still write the rest of the file.
        """
        for id, (record, decided) in self.unsure[file].items():
            if found.get(id) == record:
                self.models[file].records[id] = record
                if decided is not None:
                    self.model.decided[id] = decided
        self.unsure[file].clear()

    def let_go(self, file: File) -> None:
        if handle := self.held.pop(file, None):
            handle.close()
            self.let_go_at[file] = self.clock.monotonic()

    def release(self) -> None:
        for file in File:
            self.let_go(file)


def difference(file: File, found: dict[str, Any], wanted: dict[str, Any]) -> str:
    ids = sorted(id for id in {**found, **wanted} if found.get(id) != wanted.get(id))
    return "\n".join(f"{file.name}: {id} is {found.get(id)}, wanted {wanted.get(id)}" for id in ids[:5])
