"""Taking in what others did to one shared file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, LineKind, ParsedLine, Sync
from avocet_grpc.core.ports.files import Durable, FileState, Move, Reader, Store, Transaction
from avocet_grpc.core.record import digest_of, parse
from avocet_grpc.shared_files import reconcile
from avocet_grpc.shared_files.blocks import Blocks
from avocet_grpc.shared_files.join import Join
from avocet_grpc.shared_files.patch import Change
from avocet_grpc.shared_files.scan import FileChanged, Found, LineScanner, opened, read_line
from avocet_grpc.shared_files.waiting import Waiting, standing
from avocet_grpc.shared_files.watch import (
    Signature,
    from_state,
    has_writer,
    of_stat,
    read_range,
    signature,
    tail_before,
)
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

TORN_S = 5.0
REWRITE_S = 5.0
SETTLE_S = 10.0
HELD_S = 60.0
"""Who only appends puts the decision on missing lines off no longer; who holds the file may be rewriting it slowly."""
PENDING_LIMIT = 100_000
TAIL_BYTES = 8 * 1024 * 1024
"""So much of what others appended is one change of the ledger."""
CHECK_BYTES = 64 * 1024 * 1024
"""So much of the file is compared by its blocks between two rounds."""
MOVE_KEYS = 20_000
PROGRESS_S = 1.0


class Intake:
    """One shared file as the ledger knows it.

    `noted` is its signature then, `scanned` the byte up to which it was read. `junk` are places that shall be blanked
    and that no line of the ledger has; `misplaced` asks for a look at the whole file; `put_back` tells that the last
    one found lines missing that shall be there; `blank` counts the bytes that hold no line.
    """

    def __init__(self, store: Store, file: File, path: Path) -> None:
        self.store, self.file, self.path = store, file, path
        self.noted: Signature | None = None
        self.scanned = 0
        self.junk: list[Change] = []
        self.misplaced = False
        self.put_back = False
        self.blank = 0
        self.stopping = False
        self.blocks = Blocks()
        self._tail = b""
        self._seen: Signature | None = None
        self._changed_at = self._rewritten_at = time.monotonic()
        self._doubtful = 0
        self.grew = False
        self._checked = 0

    def adopt(self, durable: Durable | None) -> None:
        """At start: take the whole file in: as the truth, but after a stop that was none by the rules of each day.

        Raises OSError or StorageFailed.
        """
        state = self.store.read(lambda reader: reader.file_state(self.file))
        found = signature(self.path)
        if state is None and found is not None:
            self._adopt_first(found)
            return
        if state is not None and durable is None and found == from_state(state) and state.scanned == state.size:
            self.noted, self.scanned, self.blank = found, state.scanned, state.blank
            self._remember_end()
            return
        if found is not None:
            self._changed_at -= max(0.0, time.time() - found.mtime_ns / 1e9)
        while not self._reconcile(
            reconcile.Rules(durable is None, durable, still_s=self._still()), note_imports=state is not None
        ):
            time.sleep(0.05)

    def take_in(self) -> bool:
        """Take foreign changes in. True where nothing is left to take in or to wait for, so that we may write."""
        found = signature(self.path)
        if found != self._seen:
            self._seen, self._changed_at = found, time.monotonic()
        still = self._still()
        if self.misplaced:
            return self._compare()
        if found == self.noted:
            if found is not None and self.scanned < found.size:
                return self._take_rest(found, still)
            return self._check(still)
        if found is not None and self.is_growth(found):
            return self._take_tail(found) and self.scanned == found.size
        if found is not None and has_writer(self.path) is not False and still < REWRITE_S:
            return False
        return self._compare()

    def moved(self, now: Signature, scanned: int | None = None) -> None:
        """After a write of ours: up to `scanned` (else all) the file is as the ledger notes it."""
        self.noted = self._seen = now
        self.scanned = now.size if scanned is None else scanned
        self._remember_end()

    def doubt(self) -> None:
        """After a write of ours without a lease, which may hide an edit: it is looked for once the file is quiet."""
        self.grew, self._checked, self._changed_at = True, 0, time.monotonic()

    def write_moves(self, moves: Iterable[Move]) -> None:
        """Tell the ledger where lines stand now, a part at a time, so that other changes need not wait long."""
        for part in reconcile.split_moves(moves, MOVE_KEYS):
            self.store.write(partial(_move, file=self.file, moves=part)).result()

    def swapped(self, now: Signature, scanned: int, blank: int, blocks: Blocks) -> None:
        """After a swap: nothing is left to blank, and the blocks are others."""
        self.junk, self.blank, self.blocks, self.put_back = [], blank, blocks, False
        self.moved(now, scanned)

    def state(self, now: Signature, scanned: int | None = None, blank: int | None = None) -> FileState:
        """What the ledger shall note of the file."""
        return now.state(now.size if scanned is None else scanned, self.blank if blank is None else blank)

    def is_certain(self) -> bool:
        """True where the whole file is as the ledger has it; else it is compared in the next round."""
        if self.grew and not self.misplaced:
            self.grew = False
            self.misplaced = not self.blocks_match(0, self.scanned)
        return not self.misplaced and not self._doubtful and self.scanned == (self.noted.size if self.noted else 0)

    def ends_torn(self) -> bool:
        """True where the last line has no newline."""
        return bool(self._tail) and not self._tail.endswith(b"\n")

    def _still(self) -> float:
        return time.monotonic() - self._changed_at

    def _remember_end(self) -> None:
        self._tail = tail_before(self.path, self.scanned)

    def is_growth(self, found: Signature) -> bool:
        """Whether the file is as noted, with more behind its end."""
        if self.noted is None:
            return False
        if not found.same_file(self.noted) or found.size <= self.noted.size:
            return False
        if tail_before(self.path, self.scanned) != self._tail:
            return False
        return not self.ends_torn() or read_range(self.path, self.scanned, self.scanned + 1) == b"\n"

    def _check(self, still: float) -> bool:
        """Once others have left the file alone: decide about what is missing, and look for hidden edits."""
        settled = still >= SETTLE_S or self.stopping
        if self._doubtful and (settled or self._has_only_grown()):
            return self._compare(judged=not self.grew or self.blocks_match(0, self.scanned))
        if self.grew and settled:
            if self.blocks.size != self.scanned:
                return self._compare()
            end = min(self.scanned, self._checked + CHECK_BYTES)
            if not self.blocks_match(self._checked, end):
                return self._compare()
            self._checked = end
            self.grew = end < self.scanned
        elif not self.grew and self.blocks.size < self.scanned:
            end = min(self.scanned, self.blocks.size + CHECK_BYTES)
            data = read_range(self.path, self.blocks.size, end)
            if signature(self.path) == self.noted:
                self.blocks.feed(data)
        return True

    def blocks_match(self, start: int, stop: int) -> bool:
        """Whether that part of the file is certainly as it was noted. Raises OSError."""
        if self.blocks.size != self.scanned:
            return False
        with opened(self.path) as descriptor:
            return self.blocks.matches(descriptor, start, stop)

    def _has_only_grown(self) -> bool:
        """Whether others have done nothing but append for so long that what is missing counts as deleted."""
        calm = time.monotonic() - self._rewritten_at
        return calm >= SETTLE_S and (calm >= HELD_S or has_writer(self.path) is False)

    def _take_tail(self, found: Signature) -> bool:
        """Whole lines that others appended; those of one change at a time."""
        lines: list[tuple[int, ParsedLine]] = []
        with opened(self.path) as descriptor:
            scanner = LineScanner(descriptor, self.scanned, found.size)
            for offset, raw in scanner:
                lines.append((offset, parse(raw)))
                if scanner.end - self.scanned > TAIL_BYTES:
                    break
        self._import(lines, found, scanner.end)
        return True

    def _take_rest(self, found: Signature, still: float) -> bool:
        """What stands behind the last newline: somebody is writing it, or nobody will end it any more."""
        start = self.scanned
        with opened(self.path) as descriptor:
            # Up to the first line alone: what is left of a large growth is gone through here again and again.
            scanner = LineScanner(descriptor, start, found.size)
            next(iter(scanner), None)
        if scanner.end > start:
            return self._take_tail(found) and self.scanned == found.size
        raw = scanner.rest
        if self.store.read(lambda reader: self._is_half_of_ours(reader, raw, still)):
            self._import([], found, found.size)
            self.junk.append(Change(start, len(raw), digest_of(raw), None))
            return True
        line = parse(raw)
        whole = line.columns is not None and has_writer(self.path) is False
        if still < TORN_S and not whole:
            return False
        self._import([(self.scanned, line)] if raw.strip() else [], found, found.size)
        return True

    def _import(self, lines: list[tuple[int, ParsedLine]], found: Signature, scanned: int) -> None:
        waiting = Waiting(self.store.read(lambda reader: reader.pending(self.file, PENDING_LIMIT)) if lines else [])
        junk: list[Change] = []
        blank = self.blank + scanned - self.scanned - sum(len(line.raw) + 1 for _, line in lines)
        failpoints.hit("intake.before")

        def work(tx: Transaction) -> None:
            for offset, line in lines:
                if (ours := waiting.take(tx, self.file, line)) is not None:
                    tx.placed(ours.key, line.digest, offset, len(line.raw), True)
                    junk.extend(standing(ours))
                    continue
                kind = tx.adopt(self.file, line, offset, len(line.raw))
                if kind is LineKind.RECORD and line.columns:
                    reconcile.note(tx, self.file, line.columns.id, "import", line.columns.status, None)
            tx.set_file_state(self.file, self.state(found, scanned, blank))

        self.store.write(work).result()
        failpoints.hit("intake.after")
        self.junk += junk
        self.grew, self._checked = self.grew or bool(lines), 0
        if self.blocks.size == self.scanned:
            self.blocks.feed(read_range(self.path, self.scanned, scanned))
        self.blank, self.noted, self.scanned = blank, found, scanned
        self._remember_end()

    def _compare(self, judged: bool = False) -> bool:
        if not judged:
            self._rewritten_at = time.monotonic()
        settle = 0.0 if self.stopping or judged else SETTLE_S
        return self._reconcile(reconcile.Rules(False, still_s=self._still(), settle_s=settle, judged=judged))

    def _reconcile(self, rules: reconcile.Rules, note_imports: bool = True) -> bool:
        """Compare the whole file with the ledger. False where it changed meanwhile."""
        try:
            with opened(self.path) as descriptor:
                found = of_stat(os.fstat(descriptor)) if descriptor >= 0 else None
                return self._reconcile_open(descriptor, found, rules, note_imports)
        except FileChanged:
            return False

    def _reconcile_open(
        self, descriptor: int, found: Signature | None, rules: reconcile.Rules, note_imports: bool
    ) -> bool:
        blocks = Blocks()
        halves: list[Change] = []
        size = found.size if found else 0

        def read(one: Found) -> ParsedLine:
            return read_line(descriptor, one)

        def compare(reader: Reader) -> tuple[reconcile.Plan, int]:
            join = Join(reader.rows(self.file))
            scanner = LineScanner(descriptor, 0, size, blocks.feed)
            for offset, raw in self._logged(scanner, size):
                join.take(offset, raw)
            if self._is_half_of_ours(reader, scanner.rest, self._still()):
                halves.append(Change(scanner.end, len(scanner.rest), digest_of(scanner.rest), None))
            torn = bool(halves) or self._take_torn_end(join, scanner, rules.stopped)
            planner = reconcile.Planner(reader, self.file, size, rules.with_torn(torn), join, read)
            return planner.run(), max(0, size - join.line_bytes)

        plan, blank = self.store.read(compare)
        grew = (now := signature(self.path)) != found
        if grew and (now is None or found is None or not now.same_file(found) or now.size <= size):
            return False
        failpoints.hit("intake.before")
        order = self.store.read(lambda reader: reader.duplicate_order(self.file)) if plan.moves else {}
        self.store.write(lambda tx: reconcile.apply(tx, self.file, plan, read, note_imports)).result()
        self.write_moves(plan.moves)
        if order:
            self.store.write(lambda tx: reconcile.settle_duplicates(tx, self.file, order)).result()
        if found is not None:
            state = self.state(found, blank=blank)
            self.store.write(lambda tx: tx.set_file_state(self.file, state)).result()
        failpoints.hit("intake.after")
        self._report(plan)
        self.junk = halves + [Change(one.offset, one.length, one.digest, None) for one in plan.junk]
        self._doubtful, self.blank, self.put_back = plan.doubtful, blank, bool(plan.unplaced)
        self._forget_doubts(found, blocks)
        # Who appends all the time must not put a look at a large file off; what hides behind the growth is found later.
        self.grew = grew
        return True

    def _adopt_first(self, found: Signature) -> None:
        """A file that no ledger has seen: every line is new, and nothing is held in memory."""
        blocks = Blocks()
        totals = [0]

        def work(tx: Transaction) -> None:
            def lines(descriptor: int) -> Iterator[tuple[int, ParsedLine]]:
                scanner = LineScanner(descriptor, 0, found.size, blocks.feed)
                for offset, raw in self._logged(scanner, found.size):
                    totals[0] += len(raw) + 1
                    yield offset, parse(raw)
                if scanner.rest.strip():
                    totals[0] += len(scanner.rest) + 1
                    yield scanner.end, parse(scanner.rest)

            with opened(self.path) as descriptor:
                tx.adopt_all(self.file, lines(descriptor))
            tx.set_file_state(self.file, self.state(found, blank=max(0, found.size - totals[0])))

        self.store.write(work).result()
        self.blank = max(0, found.size - totals[0])
        self._forget_doubts(found, blocks)
        self.grew = signature(self.path) != found

    def _forget_doubts(self, found: Signature | None, blocks: Blocks) -> None:
        self.grew, self.misplaced, self._checked = False, False, 0
        self.noted, self.scanned, self.blocks = found, found.size if found else 0, blocks
        self._remember_end()

    def _is_half_of_ours(self, reader: Reader, rest: bytes, still: float) -> bool:
        """Whether the torn end is what a kill, or a full disk, left of a line of ours that still waits.

        The kernel stops a long write of a process that is killed. Nothing is lost with what our own line has whole; but
        before the line's id others may write the same, so theirs is left to them until they are still. What was taken
        for a malformed line before is one.
        """
        if not rest.strip() or reader.has_malformed(self.file, digest_of(rest)):
            return False
        for line in reader.pending(self.file, PENDING_LIMIT):
            if line.sync in (Sync.APPEND, Sync.CHANGE) and reader.raw(line.key).startswith(rest):
                return still >= TORN_S or json.dumps(line.id).encode() in rest
        return False

    def _take_torn_end(self, join: Join, scanner: LineScanner, stopped: bool) -> bool:
        if not scanner.rest.strip():
            return False
        torn = parse(scanner.rest).columns is None
        if torn and not stopped and self._still() < TORN_S:
            raise FileChanged
        join.take(scanner.end, scanner.rest)
        return torn

    def _logged(self, scanner: LineScanner, size: int) -> Iterator[tuple[int, bytes]]:
        """The lines, with a word now and then on how far it is."""
        logged = time.monotonic()
        for number, line in enumerate(scanner):
            if number % 4096 == 0 and time.monotonic() - logged > PROGRESS_S:
                logged = time.monotonic()
                log.info("reading", file=self.path.name, lines=number, percent=round(100 * line[0] / max(1, size)))
            yield line

    def _report(self, plan: reconcile.Plan) -> None:
        edited = sum(edit.previous is not None for edit in plan.edited)
        accepted = len(plan.adopted) + edited + len(plan.forgotten)
        self.store.observer.reconciled(accepted, plan.stale + len(plan.junk) + len(plan.unplaced))
        log.log(
            30 if plan.damaged else 20,
            "file damaged, putting back what is missing" if plan.damaged else "file compared",
            file=self.path.name,
            new=len(plan.adopted),
            edited=edited,
            overruled=len(plan.overruled),
            deleted=len(plan.forgotten),
            put_back=len(plan.unplaced),
            stale=len(plan.junk),
            missing=plan.doubtful,
        )


def _move(tx: Transaction, file: File, moves: list[Move]) -> None:
    tx.moved_all(file, moves)
