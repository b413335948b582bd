"""One shared file kept level with the ledger, in both directions."""

from __future__ import annotations

import os
import time
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, Sync
from avocet_grpc.core.ports.files import Durable, Reader, Store, Transaction
from avocet_grpc.shared_files.append import append_lines
from avocet_grpc.shared_files.drain import Drain
from avocet_grpc.shared_files.intake import Intake
from avocet_grpc.shared_files.patch import LEASE_PATIENCE_S, MAX_CHANGES, Outcome, patch, refusal
from avocet_grpc.shared_files.pending import Pending, change_of, collect
from avocet_grpc.shared_files.scan import opened
from avocet_grpc.shared_files.swapper import Swapper
from avocet_grpc.shared_files.watch import has_writer, signature
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

BLANK_BYTES = 8 * 1024 * 1024
"""A file with less blank is not compacted."""
QUIET_S = 10.0
"""Nor is one that was written within this time: what comes meanwhile has to wait, seconds where the file is large."""
SYNC_EVERY_S = 5.0


class Mirror:
    """Chooses among the three ways out, and holds the Intake, the Drain and the Swapper of the same file.

    That is the one to which `name` leads: others may replace a symbolic link. `written` is how many lines the last
    round wrote; 0 where it was kept from it.
    """

    def __init__(self, store: Store, file: File, name: Path) -> None:
        self._store, self._file, self._name = store, file, name
        self._use(Path(os.path.realpath(name)))
        self._left: list[Drain] = []
        self.written = 0
        self._refused_since: float | None = None
        self._next_sync = self._wrote_at = 0.0
        self._unsynced = False
        self._stopping = self._compacted = False

    def _use(self, path: Path) -> None:
        self._path = path
        self.intake = Intake(self._store, self._file, path)
        self._drain = Drain(self._store, self._file, path)
        self._swapper = Swapper(self._store, self._file, path, self.intake, self._drain)

    def _follow(self, path: Path) -> None:
        """Go over to the file to which others made the name lead; it is taken for a rewrite of the one before."""
        log.warning("the name leads to another file now", file=self._name.name)
        self._swapper.tidy(stopping=True)
        # Who has open what was displaced in the old place may still write to it.
        self._left.append(self._drain)
        self._use(path)
        self.intake.stopping = self._stopping
        # Without a file there is nothing that would differ from what a new Intake has noted.
        self.intake.misplaced = signature(path) is None
        self._refused_since, self._unsynced, self._compacted = None, True, False

    @property
    def is_refused(self) -> bool:
        """Whether a lease is waited for: the next round shall not be put off then."""
        return self._refused_since is not None

    def adopt(self, clean: bool) -> None:
        """At start: take the file in, and find what swaps left. `clean`: the service was stopped and has finished.

        Raises OSError or StorageFailed.
        """
        durable = self._store.read(lambda reader: reader.durable(self._file))
        self._swapper.level_at = durable.revision
        self._drain.find()
        self.intake.adopt(None if clean else durable)
        self._unsynced = not clean

    def make_sure_it_exists(self) -> None:
        """An empty file rather than none, so that a plain reader can open it. Raises OSError."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))

    def round(self) -> bool:
        """Foreign changes in, then ours out. True where nothing is left to do."""
        self.written = 0
        if (path := Path(os.path.realpath(self._name))) != self._path:
            self._follow(path)
        if not self.intake.take_in():
            return False
        for drain in (self._drain, *self._left):
            drain.run(self._stopping)
        self._left = [drain for drain in self._left if drain]
        level = self._write_out()
        self._compact_if_worth()
        self._swapper.tidy(self._stopping and level)
        if level and self._unsynced and time.monotonic() >= self._next_sync:
            self._make_durable()
        return level

    def finish(self) -> bool:
        """At a stop: one more step to a file that is up to date, compact where it can be, and durable. True once it is.

        Raises what `round` raises.
        """
        self._stopping = self.intake.stopping = True
        if not self.round() or self._drain or self._left or not self.intake.is_certain():
            return False
        if self._compacted or self._is_compact() or self._has_other_names():
            return self._make_durable()
        self._compacted = self._swapped(self._swapper.compact())
        return False

    def _write_out(self) -> bool:
        pending, revision = self._store.read(lambda reader: (collect(reader, self._file), reader.revision()))
        if not pending and not self.intake.junk:
            self.intake.put_back = False
            self._refused_since = None
            self._swapper.level_at = revision
            if self.intake.noted is None:
                self.make_sure_it_exists()
                return False
            return True
        self._unsynced, self._wrote_at = True, time.monotonic()
        if self._swap_is_due() and (done := self._swap(pending)) is not None:
            return done
        if lost := [line.key for line, _ in pending if line.sync is Sync.REMOVE and line.offset is None]:
            self._store.write(lambda tx: _forget(tx, lost)).result()
        # An id that was undone and approved again waits for its old line to go, or readers would see it twice.
        leaving = {line.id for line, _ in pending if line.sync is Sync.REMOVE and line.offset is not None}
        appends = [
            (line, raw)
            for line, raw in pending
            if line.sync is not Sync.REMOVE and line.offset is None and (line.id is None or line.id not in leaving)
        ]
        if appends and self.intake.put_back and self.intake.noted and has_writer(self._path):
            # Who rewrites the file would write over what is put back behind its end.
            return self._swapped(self._swapper.compact())
        if appends and not self._append(appends):
            return False
        changes = [(line, raw) for line, raw in pending if line.offset is not None]
        for start in range(0, len(changes), MAX_CHANGES) if changes else (0,):
            part = changes[start : start + MAX_CHANGES]
            if (part or self.intake.junk) and not self._patch(part):
                return False
        self.written = len(pending)
        if self._store.read(lambda reader: reader.pending_count(self._file)):
            return False
        self._swapper.level_at = revision
        return True

    def _append(self, lines: list[Pending]) -> bool:
        torn = self.intake.ends_torn()
        expected = self.intake.scanned + torn
        before = self.intake.noted
        started = time.monotonic()
        done = append_lines(self._path, [raw for _, raw in lines], torn, before)
        if done is None:
            return False
        if done.error is not None:
            self.intake.moved(done.signature)
            raise done.error
        if not done.leased and self._refused_since is None:
            self._refused_since = started
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
            tx.set_file_state(self._file, self.intake.state(done.signature))

        self._store.write(work).result()
        if self.intake.blocks.size == self.intake.scanned:
            self.intake.blocks.feed((b"\n" if torn else b"") + b"".join(raw + b"\n" for _, raw in lines))
        self.intake.moved(done.signature)
        if not done.leased:
            self.intake.doubt()
        return True

    def _patch(self, lines: list[Pending]) -> bool:
        noted = self.intake.noted
        if noted is None:
            self.intake.misplaced = True
            return False
        junk = self.intake.junk[:MAX_CHANGES]
        changes = [change_of(line, raw) for line, raw in lines]
        result = patch(self._path, noted, changes + junk, self.intake.ends_torn(), self.intake.blocks)
        if result.outcome in (Outcome.REFUSED, Outcome.UNSUPPORTED):
            return self._without_lease(result.outcome)
        self._refused_since = None
        now = result.signature
        if result.error is not None and now is not None:
            self.intake.moved(now)
            raise result.error
        if result.outcome is not Outcome.DONE or now is None:
            self.intake.misplaced = result.outcome is Outcome.MISPLACED
            return False
        failpoints.hit("patch.after")
        blank = self.intake.blank + sum(change.length + 1 for change in changes + junk)
        self._swapper.blanked([(change.offset, change.length) for change in changes + junk])

        def work(tx: Transaction) -> None:
            for (line, raw), offset in zip(lines, result.offsets, strict=False):
                if offset is None:
                    tx.forget(line.key)
                else:
                    tx.placed(line.key, line.digest, offset, len(raw), True)
            tx.set_file_state(self._file, self.intake.state(now, blank=blank))

        self._store.write(work).result()
        self.intake.junk = self.intake.junk[MAX_CHANGES:]
        self.intake.blank = blank
        self.intake.moved(now)
        return True

    def _without_lease(self, outcome: Outcome) -> bool:
        if self._refused_since is None:
            self._refused_since = time.monotonic() - (LEASE_PATIENCE_S if outcome is Outcome.UNSUPPORTED else 0)
        return False

    def _swap_is_due(self) -> bool:
        """Whether no lease was to be had for long enough, and none is now.

        It is asked right after a look at the file: while a lease is waited for, others append, which forbids a swap.
        """
        now = time.monotonic()
        if self._refused_since is None or now - self._refused_since < LEASE_PATIENCE_S:
            return False
        refused = refusal(self._path)
        if refused is None:
            self._refused_since = None
            return False
        if self._stopping or self._swapper.has_rested():
            return True
        return refused is Outcome.REFUSED and self._swapper.may_follow()

    def _compact_if_worth(self) -> None:
        """In a quiet moment, where more than a quarter of the file is blank; at any, where more than half is."""
        noted, blank = self.intake.noted, self.intake.blank
        if noted is None or blank <= max(BLANK_BYTES, noted.size / 4):
            return
        is_time = blank > noted.size / 2 or time.monotonic() - self._wrote_at >= QUIET_S
        if is_time and self._swapper.has_rested() and not self._has_other_names():
            self._swapped(self._swapper.compact())

    def _has_other_names(self) -> bool:
        """Whether the file has hard links: a swap leaves them with the old content, so none is made to compact."""
        try:
            return os.stat(self._path).st_nlink > 1
        except FileNotFoundError:
            return False

    def _is_compact(self) -> bool:
        if self.intake.blank > 0 and self.intake.noted is not None:
            return False

        def in_order(reader: Reader) -> bool:
            last = -1
            for _, _, _, offset, _ in reader.rows(self._file):
                if offset is None or offset < last:
                    return False
                last = offset
            return True

        return self._store.read(in_order)

    def _swap(self, pending: list[Pending]) -> bool | None:
        """None while that is not ready: what can be appended meanwhile does not wait for it."""
        if len(pending) < self._store.read(lambda reader: reader.pending_count(self._file)):
            return self._swapped(self._swapper.compact())
        done = self._swapper.change(pending)
        return done if done is None else self._swapped(done)

    def _swapped(self, done: bool) -> bool:
        if done:
            self._refused_since, self._unsynced = None, True
        return done

    def _make_durable(self) -> bool:
        """The file on the disk, and what is known of that. False where it is not level. Raises OSError."""
        at = time.time()
        revision, pending = self._store.read(lambda reader: (reader.revision(), reader.pending_count(self._file)))
        with opened(self._path) as descriptor:
            if descriptor >= 0:
                os.fsync(descriptor)
        if pending or signature(self._path) != self.intake.noted:
            return False
        durable = Durable(revision, at)
        self._store.write(lambda tx: tx.set_durable(self._file, durable)).result()
        self._unsynced = False
        self._next_sync = time.monotonic() + SYNC_EVERY_S
        return True


def _forget(tx: Transaction, keys: list[int]) -> None:
    for key in keys:
        tx.forget(key)
