"""One shared file kept level with the ledger, in both directions."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, LineKind, ParsedLine, Sync
from avocet_grpc.core.ports import LedgerLine, Reader, Store, Transaction
from avocet_grpc.core.record import content_digest, difference, load, parse
from avocet_grpc.shared_files import reconcile, swap
from avocet_grpc.shared_files.append import MAX_BYTES, append_lines
from avocet_grpc.shared_files.intake import Intake
from avocet_grpc.shared_files.patch import MAX_CHANGES, Change, Outcome, patch
from avocet_grpc.shared_files.watch import signature

log = structlog.get_logger(__name__)

PENDING_AT_ONCE = 5_000
LEASE_PATIENCE_S = 0.6
SWAP_PAUSE = 9
"""Between two swaps for want of a lease lie at least this many times the duration of the last one."""
BLANK_BYTES = 8 * 1024 * 1024
DRAIN_S = 60.0
DRAIN_AT_STOP_S = 1.0
REST_S = 1.0
"""How long a displaced file that is not as noted must be still before it is read."""


class Mirror:
    """Implements the three ways out, and holds the Intake of the same file."""

    def __init__(self, store: Store, file: File, path: Path) -> None:
        self._store, self._file, self._path = store, file, path
        self.intake = Intake(store, file, path)
        self._displaced: list[swap.Displaced] = []
        self._refused_since: float | None = None
        self._next_swap = 0.0
        self._stopping = False

    def adopt(self, trusted: bool) -> None:
        """At start: take the file in, and find what an interrupted swap left. Raises OSError or StorageFailed."""
        self.intake.adopt(trusted)
        self._displaced = [swap.Displaced(path, 0, exact=False) for path in swap.left_over(self._path)]

    def make_sure_it_exists(self) -> None:
        """An empty file rather than none, so that a plain reader can open it. Raises OSError."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def round(self) -> bool:
        """Foreign changes in, then ours out. True where nothing is left to do."""
        if not self.intake.take_in():
            return False
        self._drain()
        if not self.intake.take_in():
            return False
        return self._write_out()

    def finish(self, deadline: float) -> bool:
        """Bring the file up to date and compact it where needed, until `deadline` (monotonic). True if it worked."""
        self._stopping = self.intake.stopping = True
        compacted = False
        while time.monotonic() < deadline:
            level = self.round()
            if level and not self._displaced:
                if compacted or self._is_compact():
                    return self._flush()
                compacted = self._swap()
                continue
            time.sleep(0.02)
        return False

    def _write_out(self) -> bool:
        pending = self._store.read(self._collect)
        if not pending and not self.intake.junk:
            self._compact_if_worth()
            return True
        if lost := [line.key for line, _ in pending if line.sync is Sync.REMOVE and line.offset is None]:
            self._store.write(lambda tx: _forget(tx, lost)).result()
        # An id that was undone and approved again waits for its old line to go, or readers would see it twice.
        leaving = {line.id for line, _ in pending if line.sync is Sync.REMOVE and line.offset is not None}
        appends = [
            (line, raw)
            for line, raw in pending
            if line.sync is not Sync.REMOVE and line.offset is None and (line.id is None or line.id not in leaving)
        ]
        if appends and not self._append(appends):
            return False
        changes = [(line, raw) for line, raw in pending if line.offset is not None]
        for start in range(0, len(changes), MAX_CHANGES) if changes else (0,):
            part = changes[start : start + MAX_CHANGES]
            if (part or self.intake.junk) and not self._patch(part):
                return False
        return not self._store.read(lambda reader: reader.pending_count(self._file))

    def _collect(self, reader: Reader) -> list[tuple[LedgerLine, bytes]]:
        collected, size = list[tuple[LedgerLine, bytes]](), 0
        for line in reader.pending(self._file, PENDING_AT_ONCE):
            raw = b"" if line.sync is Sync.REMOVE else reader.raw(line.key)
            size += len(raw) + 1
            if collected and size > MAX_BYTES:
                break
            collected.append((line, raw))
        return collected

    def _append(self, lines: list[tuple[LedgerLine, bytes]]) -> bool:
        torn = self.intake.ends_torn()
        expected = self.intake.scanned + torn
        before = self.intake.noted
        done = append_lines(self._path, [raw for _, raw in lines], torn)
        total = sum(len(raw) + 1 for _, raw in lines)
        same = before is None or (before.device, before.inode) == (done.signature.device, done.signature.inode)
        if done.offset != expected or done.signature.size != expected + total or not same:
            # Others were quicker: the next look finds their lines and ours in the tail.
            return False

        def work(tx: Transaction) -> None:
            offset = done.offset
            for line, raw in lines:
                tx.placed(line.key, line.digest, offset, len(raw), True)
                offset += len(raw) + 1
            tx.set_file_state(self._file, done.signature.state(done.signature.size))

        self._store.write(work).result()
        self.intake.moved(done.signature)
        return True

    def _patch(self, lines: list[tuple[LedgerLine, bytes]]) -> bool:
        noted = self.intake.noted
        if noted is None:
            self.intake.misplaced = True
            return False
        junk = self.intake.junk[:MAX_CHANGES]
        changes = [_change(line, raw) for line, raw in lines]
        result = patch(self._path, noted, changes + junk, self.intake.ends_torn())
        if result.outcome in (Outcome.REFUSED, Outcome.UNSUPPORTED):
            return self._without_lease(result.outcome)
        self._refused_since = None
        now = result.signature
        if result.outcome is not Outcome.DONE or now is None:
            self.intake.misplaced = result.outcome is Outcome.MISPLACED
            return False

        def work(tx: Transaction) -> None:
            for (line, raw), offset in zip(lines, result.offsets, strict=False):
                if offset is None:
                    tx.forget(line.key)
                else:
                    tx.placed(line.key, line.digest, offset, len(raw), True)
            tx.set_file_state(self._file, now.state(now.size))

        self._store.write(work).result()
        self.intake.junk = self.intake.junk[MAX_CHANGES:]
        self.intake.blank += sum(change.length + 1 for change in changes + junk)
        self.intake.moved(now)
        return True

    def _without_lease(self, outcome: Outcome) -> bool:
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        patience = 0.0 if outcome is Outcome.UNSUPPORTED else LEASE_PATIENCE_S
        if now - self._refused_since < patience or (now < self._next_swap and not self._stopping):
            return False
        return self._swap()

    def _compact_if_worth(self) -> None:
        noted = self.intake.noted
        if noted and self.intake.blank > max(BLANK_BYTES, noted.size / 4) and time.monotonic() >= self._next_swap:
            self._swap()

    def _is_compact(self) -> bool:
        if self.intake.blank > 0 and self.intake.noted is not None:
            return False

        def in_order(reader: Reader) -> bool:
            last = -1
            for line in reader.lines(self._file):
                if line.offset is None or line.offset < last:
                    return False
                last = line.offset
            return True

        return self._store.read(in_order)

    def _swap(self) -> bool:
        if not self.intake.is_certain():
            return False
        started = time.monotonic()
        noted, scanned = self.intake.noted, self.intake.scanned
        built = self._store.read(lambda reader: swap.build(reader, self._file, self._path))
        if signature(self._path) != noted:
            os.unlink(built.path)
            return False
        displaced = swap.exchange(built.path, self._path)
        now = signature(self._path)
        if displaced:
            old = signature(built.path)
            exact = old is not None and noted is not None and old.same_file(noted) and old.size >= noted.size
            exact = (
                exact
                and old is not None
                and noted is not None
                and (old.size > noted.size or old.mtime_ns == noted.mtime_ns)
            )
            self._displaced.append(swap.Displaced(built.path, scanned if exact else 0, exact))
        if now is None or now.size != built.size:
            self.intake.misplaced = True
            return False

        def work(tx: Transaction) -> None:
            tx.placed_all(built.places)
            _forget(tx, built.removed)
            tx.set_file_state(self._file, now.state(now.size))

        self._store.write(work).result()
        self.intake.junk, self.intake.blank = [], 0
        self.intake.moved(now)
        self._refused_since = None
        took = time.monotonic() - started
        self._next_swap = time.monotonic() + SWAP_PAUSE * took
        log.info("file rewritten", file=self._path.name, lines=len(built.places), seconds=round(took, 3))
        return True

    def _drain(self) -> None:
        """Save what is written to the files that swaps took away; drop them once nobody writes them."""
        for old in list(self._displaced):
            still = old.look()
            if old.seen is None:
                self._displaced.remove(old)
                continue
            written = old.is_written()
            if old.exact:
                self._rescue(old.grown())
            if written or still < (DRAIN_AT_STOP_S if self._stopping else DRAIN_S if old.exact else REST_S):
                continue
            if old.exact:
                self._rescue(old.rest())
            else:
                old.read_to = 0
                self._rescue(self._only_new([parse(raw) for raw in old.rest()]))
                old.exact = True
                continue
            os.unlink(old.path)
            self._displaced.remove(old)

    def _rescue(self, lines: list[bytes]) -> None:
        """Give lines a second life at the end of the file, where they are taken in like any that others append."""
        if lines:
            log.warning("lines saved from a displaced file", file=self._path.name, lines=len(lines))
            append_lines(self._path, lines, self.intake.ends_torn())

    def _only_new(self, lines: list[ParsedLine]) -> list[bytes]:
        """Those of the lines that the ledger never had; an edit of a record that it has becomes a change."""
        known = self._store.read(lambda reader: {line.digest for line in reader.lines(self._file)})
        fresh = [line for line in lines if line.digest not in known]
        raws: list[bytes] = []

        def work(tx: Transaction) -> None:
            for line in fresh:
                if line.columns is None:
                    raws.append(line.raw)
                    continue
                id = line.columns.id
                standing = tx.line_of(self._file, id)
                if tx.was_ours(self._file, id, content_digest(line.record or {})):
                    continue
                if standing is None:
                    raws.append(line.raw)
                elif standing.sync is Sync.CLEAN and standing.kind is LineKind.RECORD:
                    previous = difference(load(tx.raw(standing.key)), line.record or {})
                    tx.replace(standing.key, line)
                    reconcile.note(tx, self._file, id, "edit", line.record, previous)

        self._store.write(work).result()
        return raws

    def _flush(self) -> bool:
        """The file on the disk, and nothing of ours pending. Raises OSError."""
        if self.intake.noted is not None:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return signature(self._path) == self.intake.noted


def _forget(tx: Transaction, keys: list[int]) -> None:
    for key in keys:
        tx.forget(key)


def _change(line: LedgerLine, raw: bytes) -> Change:
    assert line.offset is not None and line.length is not None and line.file_digest is not None
    return Change(line.offset, line.length, line.file_digest, None if line.sync is Sync.REMOVE else raw)
