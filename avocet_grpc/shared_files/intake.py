"""Taking in what others did to one shared file."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from hashlib import blake2b
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, LineKind, ParsedLine, Sync
from avocet_grpc.core.ports import Reader, Store, Transaction
from avocet_grpc.core.record import parse
from avocet_grpc.shared_files import reconcile
from avocet_grpc.shared_files.patch import Change
from avocet_grpc.shared_files.watch import (
    Signature,
    from_state,
    has_writer,
    read_range,
    signature,
    split_lines,
    tail_before,
)

log = structlog.get_logger(__name__)

TORN_S = 5.0
REWRITE_S = 5.0
SETTLE_S = 10.0
PENDING_LIMIT = 100_000
PROGRESS_LINES = 10_000
PROGRESS_S = 1.0


class Intake:
    """One shared file as the ledger knows it.

    `noted` is its signature then, `scanned` the byte up to which it was read. `junk` are places that shall be blanked
    and that no line of the ledger has; `misplaced` asks for a look at the whole file; `blank` counts the bytes that
    hold no line.
    """

    def __init__(self, store: Store, file: File, path: Path) -> None:
        self.store, self.file, self.path = store, file, path
        self.noted: Signature | None = None
        self.scanned = 0
        self.junk: list[Change] = []
        self.misplaced = False
        self.blank = 0
        self.stopping = False
        self._tail = b""
        self._seen: Signature | None = None
        self._changed_at = time.monotonic()
        self._doubtful = 0
        self._grew = False
        # Digests by bytes, from the last look at the whole file: reading JSON is most of what a look costs.
        self._met: dict[bytes, bytes] = {}

    def adopt(self, trusted: bool) -> None:
        """At start: take the whole file in. `trusted`: it is the truth where nothing of ours is pending."""
        state = self.store.read(lambda reader: reader.file_state(self.file))
        found = signature(self.path)
        same = state is not None and found == from_state(state) and state.scanned == state.size
        if same and not self.store.read(lambda reader: reader.pending_count(self.file)):
            self.noted, self.scanned = found, found.size if found else 0
            self._remember_end()
            lines = self.store.read(lambda reader: sum((x.length or 0) + 1 for x in reader.lines(self.file)))
            self.blank = max(0, self.scanned - lines)
            return
        while not self._reconcile(trusted, note_imports=state is not None):
            time.sleep(0.01)

    def take_in(self) -> bool:
        """Take foreign changes in. True where nothing is left to take in or to wait for, so that we may write."""
        found = signature(self.path)
        if found != self._seen:
            self._seen, self._changed_at = found, time.monotonic()
        still = time.monotonic() - self._changed_at
        if self.misplaced:
            return self._reconcile(False)
        if found == self.noted:
            if found is not None and self.scanned < found.size:
                return self._take_torn(still)
            settled = still >= SETTLE_S or self.stopping
            return self._reconcile(False) if settled and (self._doubtful or self._grew) else True
        if found is not None and self._is_growth(found):
            return self._take_tail(found) and self.scanned == found.size
        if found is not None and has_writer(self.path) is not False and still < REWRITE_S:
            return False
        return self._reconcile(False)

    def moved(self, now: Signature) -> None:
        """After a write of ours: the whole file is as the ledger notes it."""
        self.noted = self._seen = now
        self.scanned = now.size
        self._remember_end()

    def is_certain(self) -> bool:
        """True where the whole file may be written from the ledger; else the whole is compared first."""
        self.misplaced = self.misplaced or self._grew
        return not self.misplaced and not self._doubtful

    def ends_torn(self) -> bool:
        """True where the last line has no newline."""
        return bool(self._tail) and not self._tail.endswith(b"\n")

    def _remember_end(self) -> None:
        self._tail = tail_before(self.path, self.scanned)

    def _is_growth(self, found: Signature) -> bool:
        if self.noted is None:
            return False
        if not found.same_file(self.noted) or found.size <= self.noted.size:
            return False
        if tail_before(self.path, self.scanned) != self._tail:
            return False
        return not self.ends_torn() or read_range(self.path, self.scanned, self.scanned + 1) == b"\n"

    def _take_tail(self, found: Signature) -> bool:
        lines = split_lines(read_range(self.path, self.scanned, found.size), self.scanned)
        self._import([(offset, parse(raw)) for offset, raw in lines.lines], found, lines.end)
        return True

    def _take_torn(self, still: float) -> bool:
        """A last line without its newline: somebody is writing it, or nobody will end it any more."""
        assert self.noted is not None
        raw = read_range(self.path, self.scanned, self.noted.size)
        line = parse(raw)
        whole = line.columns is not None and has_writer(self.path) is False
        if still < TORN_S and not whole:
            return False
        self._import([(self.scanned, line)] if raw.strip() else [], self.noted, self.noted.size)
        return True

    def _import(self, lines: list[tuple[int, ParsedLine]], found: Signature, scanned: int) -> None:
        waiting: dict[bytes, deque[tuple[int, Change | None]]] = defaultdict(deque)
        for line in self.store.read(lambda reader: reader.pending(self.file, PENDING_LIMIT)) if lines else ():
            if line.sync in (Sync.APPEND, Sync.CHANGE):
                old = None
                if line.offset is not None and line.length is not None and line.file_digest is not None:
                    old = Change(line.offset, line.length, line.file_digest, None)
                waiting[line.digest].append((line.key, old))
        junk: list[Change] = []

        def work(tx: Transaction) -> None:
            for offset, line in lines:
                if same := waiting.get(line.digest):
                    key, old = same.popleft()
                    tx.placed(key, line.digest, offset, len(line.raw), True)
                    if old is not None:
                        junk.append(old)
                    continue
                kind = tx.adopt(self.file, line, offset, len(line.raw))
                if kind is LineKind.RECORD and line.columns:
                    reconcile.note(tx, self.file, line.columns.id, "import", line.record, None)
            tx.set_file_state(self.file, found.state(scanned))

        self.store.write(work).result()
        self.junk += junk
        self._grew = self._grew or bool(lines)
        self.blank += scanned - self.scanned - sum(len(line.raw) + 1 for _, line in lines)
        self.noted, self.scanned = found, scanned
        self._remember_end()

    def _reconcile(self, stopped: bool, note_imports: bool = True) -> bool:
        """Compare the whole file with the ledger. False where it changed meanwhile."""
        found = signature(self.path)
        data = read_range(self.path, 0, found.size) if found else b""
        lines = split_lines(data, 0)
        parsed = self._parse_all(lines.lines)
        torn = False
        if lines.rest.strip():
            last = parse(lines.rest)
            torn = last.columns is None
            if torn and not stopped and time.monotonic() - self._changed_at < TORN_S:
                return False
            parsed.append(reconcile.Found(lines.end, lines.rest, last.digest, last))
        if signature(self.path) != found or (found is not None and len(data) != found.size):
            return False
        still = time.monotonic() - self._changed_at
        settle = 0.0 if self.stopping else SETTLE_S
        rules = reconcile.Rules(stopped, still, settle, torn)

        def compare(reader: Reader) -> reconcile.Plan:
            return reconcile.plan(reader, self.file, len(data), parsed, rules)

        plan = self.store.read(compare)
        size = found.size if found else 0

        def work(tx: Transaction) -> None:
            reconcile.apply(tx, self.file, plan, note_imports)
            if found is not None:
                tx.set_file_state(self.file, found.state(size))

        self.store.write(work).result()
        self._report(plan)
        self.junk = [Change(one.offset, len(one.raw), one.digest, None) for one in plan.junk]
        self.blank = max(0, size - sum(len(one.raw) + 1 for one in parsed))
        self._doubtful, self._grew, self.misplaced = plan.doubtful, False, False
        self.noted, self.scanned = found, size
        self._tail = data[-64 * 1024 :]
        return True

    def _parse_all(self, lines: list[tuple[int, bytes]]) -> list[reconcile.Found]:
        parsed: list[reconcile.Found] = []
        logged = time.monotonic()
        met: dict[bytes, bytes] = {}
        for offset, raw in lines:
            mark = blake2b(raw, digest_size=16).digest()
            if (digest := self._met.get(mark)) is not None:
                parsed.append(reconcile.Found(offset, raw, digest))
            else:
                line = parse(raw)
                parsed.append(reconcile.Found(offset, raw, line.digest, line))
            met[mark] = parsed[-1].digest
            if len(parsed) % PROGRESS_LINES == 0 or (len(parsed) % 256 == 0 and time.monotonic() - logged > PROGRESS_S):
                logged = time.monotonic()
                log.info("reading", file=self.path.name, lines=len(parsed), of=len(lines))
        self._met = met
        return parsed

    def _report(self, plan: reconcile.Plan) -> None:
        log.log(
            30 if plan.damaged else 20,
            "file damaged, putting back what is missing" if plan.damaged else "file compared",
            file=self.path.name,
            new=len(plan.adopted),
            edited=sum(previous is not None for _, _, previous in plan.edited),
            overruled=len(plan.overruled),
            deleted=len(plan.forgotten),
            put_back=len(plan.unplaced),
            stale=len(plan.junk),
            missing=plan.doubtful,
        )
