"""What a rewritten file means for the ledger: found outside of the transaction, applied in one."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.model import File, LineKind, ParsedLine, Record, Source, Sync
from avocet_grpc.core.ports.files import Durable, LedgerLine, Move, Place, Reader, Transaction
from avocet_grpc.core.ports.ledger import HistoryEntry
from avocet_grpc.core.record import content_digest_before_4, difference, load
from avocet_grpc.shared_files.join import Join
from avocet_grpc.shared_files.scan import Found

ACTOR = "external"
FRESH_S = 60.0
DAMAGE_LINES = 100
DAMAGE_SHARE = 0.1
ALL = 2**31

ReadLine = Callable[[Found], ParsedLine]
"""The line that was found, read. Raises FileChanged."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How far the file is believed.

    `stopped`: the service was stopped cleanly, the file is the truth. `durable`: the service ended without a stop, and
    a power cut may have taken from the file what is not durable. `still_s`: for how many seconds others have left it
    alone. `settle_s`: after how many of them a missing line counts as deleted. `judged`: it is as it was at the last
    look, which found lines missing and no damage. `torn`: it ends inside a line.
    """

    stopped: bool
    durable: Durable | None = None
    still_s: float = 0.0
    settle_s: float = 10.0
    judged: bool = False
    torn: bool = False

    def with_torn(self, torn: bool) -> Rules:
        """The same rules for a file that ends inside a line, or not."""
        return replace(self, torn=torn)

    def is_taken_for_granted(self, line: LedgerLine) -> bool:
        """Whether the line, though it is missing, was surely in the file at one time and could only be deleted."""
        if self.durable is not None and (line.revision > self.durable.revision or line.synced_at >= self.durable.at):
            return False
        return self.stopped or time.time() - line.synced_at >= FRESH_S


@dataclass(frozen=True, slots=True)
class Edit:
    """Another content under an id that the ledger has; `previous` is None where only the spelling differs."""

    line: LedgerLine
    found: Found
    new: ParsedLine
    previous: str | None


@dataclass(slots=True)
class Plan:
    """The differences. `junk` are lines of the file that shall go; `doubtful` are lines that may be deleted later;
    `stale` are records that stand in the file otherwise than they shall."""

    moves: list[Move] = field(default_factory=list)
    placed: list[Place] = field(default_factory=list)
    edited: list[Edit] = field(default_factory=list)
    overruled: list[Edit] = field(default_factory=list)
    adopted: list[Found] = field(default_factory=list)
    forgotten: list[tuple[LedgerLine, str | None]] = field(default_factory=list)
    unplaced: list[int] = field(default_factory=list)
    junk: list[Found] = field(default_factory=list)
    doubtful: int = 0
    stale: int = 0
    damaged: bool = False


class Planner:
    """Compares one look at a file of `size` bytes with the ledger; `join` has gone through both."""

    def __init__(self, reader: Reader, file: File, size: int, rules: Rules, join: Join, read: ReadLine) -> None:
        self._reader = reader
        self._file = file
        self._size = size
        self._rules = rules
        self._join = join
        self._read = read
        self._plan = Plan(moves=join.moves)
        self._absent: set[int] = set()
        self._replaced = False

    def run(self) -> Plan:
        """The differences. Raises FileChanged."""
        keys, left = self._join.finish()
        pending = self._reader.pending(self._file, ALL)
        gone = [line for key in keys if (line := self._reader.line(key)) is not None]
        total = self._join.rows + len(pending)
        self._absent = {line.key for line in (*gone, *pending)}
        pending, left = self._match(pending, left, lambda line: None if line.sync is Sync.REMOVE else line.digest)
        pending, left = self._match(pending, left, lambda line: line.file_digest)
        missing, left = self._pair(gone + pending, left)
        self._leftovers(left, missing)
        self._missing(missing, total)
        return self._plan

    def _match(
        self, lines: list[LedgerLine], left: list[Found], digest_of: Callable[[LedgerLine], bytes | None]
    ) -> tuple[list[LedgerLine], list[Found]]:
        """Place the lines whose content stands in the file; gives what is left of both."""
        by_digest: dict[bytes | None, deque[Found]] = defaultdict(deque)
        for one in left if lines else ():
            by_digest[one.digest].append(one)
        taken: set[int] = set()
        others: list[LedgerLine] = []
        for line in lines:
            if not (same := by_digest.get(digest_of(line))):
                others.append(line)
                continue
            one = same.popleft()
            taken.add(one.offset)
            self._absent.discard(line.key)
            self._replaced |= (line.offset, line.length) != (one.offset, one.length)
            ours = line.sync in (Sync.APPEND, Sync.CHANGE) and one.digest == line.digest
            self._plan.placed.append((line.key, one.digest, one.offset, one.length, ours))
        return others, [one for one in left if one.offset not in taken]

    def _pair(self, lines: list[LedgerLine], left: list[Found]) -> tuple[list[LedgerLine], list[Found]]:
        """Another content under a known id: an edit, or an older state of ours. Gives what is left of both."""
        by_id: dict[str, deque[tuple[Found, ParsedLine]]] = defaultdict(deque)
        for one in left if lines else ():
            if (new := self._read(one)).columns is not None:
                by_id[new.columns.id].append((one, new))
        missing: list[LedgerLine] = []
        taken: set[int] = set()
        for line in lines:
            same = by_id.get(line.id) if line.id is not None else None
            if not same or (line.sync is Sync.APPEND and self._stands(line.id)):
                missing.append(line)
                continue
            one, new = same.popleft()
            taken.add(one.offset)
            self._absent.discard(line.key)
            self._judge(line, one, new)
        return missing, [one for one in left if one.offset not in taken]

    def _stands(self, id: str | None) -> bool:
        """Whether a record of the id stands in the file."""
        line = self._reader.line_of(self._file, id) if id is not None else None
        return line is not None and line.key not in self._absent

    def _judge(self, line: LedgerLine, one: Found, new: ParsedLine) -> None:
        record = new.record or {}
        digest = content_digest_before_4(record)
        if line.sync is Sync.CLEAN:
            old = load(self._reader.raw(line.key))
            if content_digest_before_4(old) == digest:
                # The same content in another spelling is no edit, but the file's bytes are the ones to keep.
                self._plan.edited.append(Edit(line, one, new, None))
                return
            if self._rules.stopped or not self._is_known(line.id, digest):
                self._plan.edited.append(Edit(line, one, new, difference(old, record)))
                return
        self._replaced = True
        self._plan.placed.append((line.key, one.digest, one.offset, one.length, False))
        self._plan.stale += 1
        if not self._is_known(line.id, digest):
            self._plan.overruled.append(Edit(line, one, new, None))

    def _is_known(self, id: str | None, digest: bytes) -> bool:
        return id is not None and self._reader.was_ours(self._file, id, digest)

    def _leftovers(self, left: list[Found], missing: list[LedgerLine]) -> None:
        starts = {line.offset: line for line in missing}
        ends = {line.offset + line.length: line for line in missing if line.offset is not None and line.length}
        for one in left if not self._reader.is_empty(self._file) else ():
            new = self._read(one)
            if new.columns is None:
                if self._is_ruin(new.raw, starts.get(one.offset), ends.get(one.offset + one.length)):
                    self._plan.junk.append(one)
                continue
            known = self._is_known(new.columns.id, content_digest_before_4(new.record or {}))
            # Beside the record of its id an older state of ours is what a crash left of a patch.
            if known and (not self._rules.stopped or self._stands(new.columns.id)):
                self._plan.junk.append(one)
        junk = {one.offset for one in self._plan.junk}
        self._plan.adopted = [one for one in left if one.offset not in junk]

    def _is_ruin(self, raw: bytes, first: LedgerLine | None, last: LedgerLine | None) -> bool:
        """Whether it is what a power cut left where lines stood that the ledger has whole.

        A file may have grown on the disk by blocks that were never written: NULs, with the rest of a line before and
        behind them.
        """
        head, _, rest = raw.partition(b"\0")
        tail = rest.lstrip(b"\0")
        if self._rules.durable is None or len(head) == len(raw) or b"\0" in tail:
            return False
        whole = [self._reader.raw(line.key) if line is not None else b"" for line in (first, last)]
        return whole[0].startswith(head) and whole[1].endswith(tail)

    def _missing(self, missing: list[LedgerLine], total: int) -> None:
        gone = [line for line in missing if line.sync is Sync.CLEAN]
        self._plan.damaged = bool(gone) and not self._rules.stopped and self._is_damage(gone, total)
        for line in missing:
            if line.sync is Sync.REMOVE:
                self._plan.forgotten.append((line, None))
            elif line.sync is Sync.CHANGE:
                self._plan.unplaced.append(line.key)
            elif line.sync is Sync.CLEAN:
                if self._plan.damaged or not self._rules.is_taken_for_granted(line):
                    self._plan.unplaced.append(line.key)
                elif self._rules.stopped or self._rules.still_s >= self._rules.settle_s:
                    self._plan.forgotten.append((line, self._last_words(line)))
                else:
                    self._plan.doubtful += 1

    def _last_words(self, line: LedgerLine) -> str:
        raw = self._reader.raw(line.key)
        return json.dumps({"set": [], "was": load(raw)}) if line.kind is not LineKind.MALFORMED else "{}"

    def _is_damage(self, gone: list[LedgerLine], total: int) -> bool:
        if self._rules.judged:
            return False
        if not self._join.lines or self._rules.torn:
            return True
        lost = sum(line.kind is LineKind.RECORD for line in gone)
        if lost > max(DAMAGE_LINES, DAMAGE_SHARE * total):
            return True
        plan = self._plan
        # A line that waits to be changed is placed anew though it stands where it stood.
        as_it_was = not (plan.edited or plan.adopted or self._replaced or plan.junk or plan.moves)
        return as_it_was and all(line.offset is not None and line.offset >= self._size for line in gone)


def apply(tx: Transaction, file: File, plan: Plan, read: ReadLine, note_imports: bool) -> None:
    """Make the ledger say what the plan found, but for its moves. What changed meanwhile by us wins.

    `note_imports`: each new record gets a history entry. Raises FileChanged.
    """
    tx.placed_all(plan.placed)
    for edit in plan.edited:
        _edit(tx, file, edit)
    for edit in plan.overruled:
        _overrule(tx, file, edit)
    for found in plan.adopted:
        new = read(found)
        kind = tx.adopt(file, new, found.offset, found.length)
        if note_imports and kind is LineKind.RECORD and new.columns:
            note(tx, file, new.columns.id, "import", new.columns.status, None)
    for key in plan.unplaced:
        tx.unplaced(key)
    for line, previous in plan.forgotten:
        if line.sync is Sync.CLEAN and not _is_still(tx, line):
            tx.unplaced(line.key)
            continue
        tx.forget(line.key)
        if previous is not None and line.id is not None:
            note(tx, file, line.id, "delete", None, previous)


def settle_duplicates(tx: Transaction, file: File, before: Mapping[str, list[int]]) -> None:
    """Of lines of one id whose order others changed, another one may count now: an edit of theirs."""
    for old, after in tx.settle_duplicates(file, before):
        new = load(after)
        status = new.get("status")
        note(tx, file, new["id"], "edit", status if isinstance(status, str) else None, difference(load(old), new))


def note(tx: Transaction, file: File, id: str, action: str, status: str | None, previous: str | None) -> None:
    """One history entry about what others did to a record; `status` is its word now, None where that is unknown."""
    entry = HistoryEntry(
        tx.new_revision(), file, id, action, ACTOR, now_iso(), status, previous, source=Source.EXTERNAL
    )
    tx.note(entry)


def _edit(tx: Transaction, file: File, edit: Edit) -> None:
    line, found, new = edit.line, edit.found, edit.new
    if not _is_still(tx, line):
        tx.placed(line.key, found.digest, found.offset, found.length, False)
        _overrule(tx, file, edit)
    elif edit.previous is None:
        tx.respell(line.key, new, found.offset)
    else:
        tx.edit(line.key, new, found.offset, found.length)
        if line.id is not None:
            note(tx, file, line.id, "edit", new.columns.status if new.columns else None, edit.previous)


def _is_still(tx: Transaction, line: LedgerLine) -> bool:
    """Whether the line is as it was when the file was compared."""
    now = tx.line(line.key)
    return now is not None and (now.revision, now.sync) == (line.revision, line.sync)


def _overrule(tx: Transaction, file: File, edit: Edit) -> None:
    if edit.line.id is not None:
        note_overruled(tx, file, edit.line.id, edit.new.record or {})


def note_overruled(tx: Transaction, file: File, id: str, record: Record) -> None:
    """A history entry about an edit that does not count, since ours had not reached the file that was edited."""
    note(tx, file, id, "edit", None, json.dumps({"overruled": record}))


def split_moves(moves: Iterable[Move], most: int) -> Iterable[list[Move]]:
    """The moves in lists that concern at most some `most` keys each, so that no transaction takes long."""
    part: list[Move] = []
    room = most
    for first, last, by in moves:
        while first <= last:
            end = min(last, first + room - 1)
            part.append((first, end, by))
            room -= end - first + 1
            first = end + 1
            if room <= 0:
                yield part
                part, room = [], most
    if part:
        yield part
