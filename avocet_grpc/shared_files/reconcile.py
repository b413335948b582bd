"""What a rewritten file means for the ledger: found outside of the transaction, applied in one."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.model import File, LineKind, ParsedLine, Record, Sync
from avocet_grpc.core.ports import HistoryEntry, LedgerLine, Place, Reader, Transaction
from avocet_grpc.core.record import content_digest, difference, load, parse

ACTOR = "external"
FRESH_S = 60.0
DAMAGE_LINES = 100
DAMAGE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Found:
    """A line that stands in the file, at `offset` bytes; `parsed` is None where its content was met before."""

    offset: int
    raw: bytes
    digest: bytes
    parsed: ParsedLine | None = None

    @property
    def line(self) -> ParsedLine:
        """The line, read; costly where it was not read yet."""
        return self.parsed or parse(self.raw)


@dataclass(frozen=True, slots=True)
class Rules:
    """How far the file is believed.

    `stopped`: the service was stopped cleanly, the file is the truth. `still_s`: for how many seconds others have left
    it alone. `settle_s`: after how many of them a missing line counts as deleted. `torn`: it ends inside a line.
    """

    stopped: bool
    still_s: float
    settle_s: float = 10.0
    torn: bool = False


@dataclass(slots=True)
class Plan:
    """The differences. `junk` are lines of the file that shall go; `doubtful` are lines that may be deleted later."""

    placed: list[Place] = field(default_factory=list)
    edited: list[tuple[LedgerLine, Found, str | None]] = field(default_factory=list)
    overruled: list[tuple[LedgerLine, Found]] = field(default_factory=list)
    adopted: list[Found] = field(default_factory=list)
    forgotten: list[tuple[LedgerLine, str | None]] = field(default_factory=list)
    unplaced: list[int] = field(default_factory=list)
    junk: list[Found] = field(default_factory=list)
    doubtful: int = 0
    damaged: bool = False


def plan(reader: Reader, file: File, size: int, found: Iterable[Found], rules: Rules) -> Plan:
    """Compare the file's lines, `size` bytes in all, with the ledger's."""
    return _Planner(reader, file, size, rules).run(list(found))


def apply(tx: Transaction, file: File, plan: Plan, note_imports: bool) -> None:
    """Make the ledger say what the plan found. `note_imports`: each new record gets a history entry."""
    tx.placed_all(plan.placed)
    for line, found, previous in plan.edited:
        tx.edit(line.key, found.line, found.offset, len(found.raw))
        if previous is not None and line.id is not None:
            note(tx, file, line.id, "edit", found.line.record, previous)
    for line, found in plan.overruled:
        if line.id is not None:
            note(tx, file, line.id, "edit", None, json.dumps({"overruled": found.line.record}))
    for found in plan.adopted:
        kind = tx.adopt(file, found.line, found.offset, len(found.raw))
        if note_imports and kind is LineKind.RECORD and found.line.columns:
            note(tx, file, found.line.columns.id, "import", found.line.record, None)
    for key in plan.unplaced:
        tx.unplaced(key)
    for line, previous in plan.forgotten:
        tx.forget(line.key)
        if previous is not None and line.id is not None:
            note(tx, file, line.id, "delete", None, previous)


def note(tx: Transaction, file: File, id: str, action: str, record: Record | None, previous: str | None) -> None:
    """One history entry about what others did to a record; `record` is what it is now, None where that is unknown."""
    status = record.get("status") if record else None
    status = status if isinstance(status, str) else None
    tx.note(HistoryEntry(tx.new_revision(), file, id, action, ACTOR, now_iso(), status, previous))


class _Planner:
    def __init__(self, reader: Reader, file: File, size: int, rules: Rules) -> None:
        self._reader = reader
        self._file = file
        self._size = size
        self._rules = rules
        self._plan = Plan()
        self._by_digest: dict[bytes, deque[Found]] = defaultdict(deque)
        self._taken: set[int] = set()
        self._standing: dict[str, LedgerLine] = {}

    def run(self, found: list[Found]) -> Plan:
        for one in found:
            self._by_digest[one.digest].append(one)
        lines = list(self._reader.lines(self._file))
        open_lines = self._match(lines, lambda line: None if line.sync is Sync.REMOVE else line.digest)
        open_lines = self._match(open_lines, lambda line: line.file_digest)
        left = [one for one in found if one.offset not in self._taken]
        missing = self._pair(open_lines, left)
        self._leftovers(left)
        self._missing(lines, missing, found)
        return self._plan

    def _match(self, lines: list[LedgerLine], digest_of: Callable[[LedgerLine], bytes | None]) -> list[LedgerLine]:
        """Place the lines whose content stands in the file; gives the others."""
        others: list[LedgerLine] = []
        for line in lines:
            digest = digest_of(line)
            same = self._by_digest.get(digest) if digest is not None else None
            if not same or digest is None:
                others.append(line)
                continue
            one = same.popleft()
            self._taken.add(one.offset)
            if line.id is not None and line.sync is not Sync.REMOVE:
                self._standing.setdefault(line.id, line)
            self._place(line, one)
        return others

    def _place(self, line: LedgerLine, one: Found) -> None:
        length = len(one.raw)
        if line.sync is Sync.CLEAN and line.offset == one.offset and line.length == length:
            return
        ours = line.sync in (Sync.APPEND, Sync.CHANGE) and one.digest == line.digest
        self._plan.placed.append((line.key, one.digest, one.offset, length, ours))

    def _pair(self, lines: list[LedgerLine], left: list[Found]) -> list[LedgerLine]:
        """Another content under a known id: an edit, or an older state of ours. Gives the lines not in the file."""
        by_id: dict[str, deque[Found]] = defaultdict(deque)
        for one in left:
            if one.line.columns:
                by_id[one.line.columns.id].append(one)
        missing: list[LedgerLine] = []
        for line in lines:
            same = by_id.get(line.id) if line.id is not None else None
            if not same or (line.sync is Sync.APPEND and line.id in self._standing):
                missing.append(line)
                continue
            one = same.popleft()
            self._taken.add(one.offset)
            if line.sync is not Sync.REMOVE and line.id is not None:
                self._standing.setdefault(line.id, line)
            self._judge(line, one)
        return missing

    def _judge(self, line: LedgerLine, one: Found) -> None:
        assert line.id is not None
        record = one.line.record or {}
        known = self._reader.was_ours(self._file, line.id, content_digest(record))
        if line.sync is Sync.CLEAN and (self._rules.stopped or not known):
            old = load(self._reader.raw(line.key))
            # The same content in another spelling is no edit, but the file's bytes are the ones to keep.
            same = content_digest(old) == content_digest(record)
            self._plan.edited.append((line, one, None if same else difference(old, record)))
            return
        self._plan.placed.append((line.key, one.digest, one.offset, len(one.raw), False))
        if not known:
            self._plan.overruled.append((line, one))

    def _leftovers(self, left: list[Found]) -> None:
        for one in left:
            if one.offset in self._taken:
                continue
            if one.line.columns is None:
                self._plan.adopted.append(one)
                continue
            id = one.line.columns.id
            standing = self._standing.get(id)
            known = self._reader.was_ours(self._file, id, content_digest(one.line.record or {}))
            # Beside the record of its id an older state of ours is what a crash left of a patch.
            if known and (standing is not None or not self._rules.stopped):
                self._plan.junk.append(one)
            else:
                self._plan.adopted.append(one)

    def _missing(self, lines: list[LedgerLine], missing: list[LedgerLine], found: list[Found]) -> None:
        gone = [line for line in missing if line.sync is Sync.CLEAN]
        self._plan.damaged = bool(gone) and not self._rules.stopped and self._is_damage(lines, gone, found)
        now = time.time()
        for line in missing:
            if line.sync is Sync.REMOVE:
                self._plan.forgotten.append((line, None))
            elif line.sync is Sync.CHANGE:
                self._plan.unplaced.append(line.key)
            elif line.sync is Sync.CLEAN:
                fresh = now - line.synced_at < FRESH_S and not self._rules.stopped
                if self._plan.damaged or fresh:
                    self._plan.unplaced.append(line.key)
                elif self._rules.stopped or self._rules.still_s >= self._rules.settle_s:
                    self._plan.forgotten.append((line, self._last_words(line)))
                else:
                    self._plan.doubtful += 1

    def _last_words(self, line: LedgerLine) -> str:
        raw = self._reader.raw(line.key)
        return json.dumps({"set": [], "was": load(raw)}) if line.kind is not LineKind.MALFORMED else "{}"

    def _is_damage(self, lines: list[LedgerLine], gone: list[LedgerLine], found: list[Found]) -> bool:
        if not found or self._rules.torn:
            return True
        records = sum(line.kind is LineKind.RECORD for line in lines)
        lost = sum(line.kind is LineKind.RECORD for line in gone)
        if lost > max(DAMAGE_LINES, DAMAGE_SHARE * records):
            return True
        as_it_was = not (self._plan.edited or self._plan.adopted or self._plan.placed or self._plan.junk)
        return as_it_was and all(line.offset is not None and line.offset >= self._size for line in gone)
