"""Putting another file in the place of a shared one: when it may be done, and that nothing is lost by it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, Sync
from avocet_grpc.core.ports.files import DisplacedFile, Store, Transaction
from avocet_grpc.shared_files import swap, twin
from avocet_grpc.shared_files.blocks import Span
from avocet_grpc.shared_files.displaced import UNKNOWN_SIZE, Displaced, end_before
from avocet_grpc.shared_files.drain import Drain
from avocet_grpc.shared_files.intake import Intake
from avocet_grpc.shared_files.patch import Outcome
from avocet_grpc.shared_files.pending import Pending, change_of
from avocet_grpc.shared_files.scan import opened
from avocet_grpc.shared_files.watch import Signature, of_stat, signature
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

PAUSE = 9
"""Between two swaps that write the whole file lie at least this many times the duration of the last one."""
DISPLACED_BYTES = 1024 * 1024 * 1024
"""While the displaced files, which are kept for a minute at least, take more than this, no copy follows at once."""
DRAFT_S = 60.0
"""A copy that was begun, and that nobody has asked for since, is dropped after this time."""
TRIES = 20
"""So often what others append meanwhile is copied after before the new file is given up."""


class Swapper:
    """Swaps one shared file, as the Intake knows it, and leaves the old one to the Drain.

    `level_at` is a revision up to which the file has all changes of ours.
    """

    def __init__(self, store: Store, file: File, path: Path, intake: Intake, drain: Drain) -> None:
        self._store, self._file, self._path = store, file, path
        self._intake, self._drain = intake, drain
        self._copied_at = self._copy_took = 0.0
        self.level_at = 0
        self._failed = False
        self._draft: twin.Base | None = None

    def has_rested(self) -> bool:
        """Whether the last swap that wrote the whole file, or came to nothing, is long enough ago."""
        return time.monotonic() >= self._copied_at + PAUSE * self._copy_took

    def may_follow(self) -> bool:
        """Whether another swap may follow at once: a displaced file serves again, or a copy more has room."""
        if self._failed:
            return False
        if self._draft is not None or self._drain.has_twin(self._intake.blocks):
            return True
        return len(self._drain) * self._intake.scanned < DISPLACED_BYTES

    def blanked(self, places: list[Span]) -> None:
        """Those places of the file were blanked, and stand in those that may take its place still."""
        self._drain.blanked(places, self._intake.blocks)
        if self._draft is not None:
            self._draft.blanked += places

    def tidy(self, stopping: bool) -> None:
        """Drop a copy that was begun, and is needed no more."""
        draft = self._draft
        if draft is not None and (stopping or time.monotonic() - draft.used_at >= DRAFT_S):
            self._draft = None
            os.close(draft.descriptor)
            draft.path.unlink(missing_ok=True)

    def compact(self) -> bool:
        """Write the file anew, in key order and without blanks. False where others were quicker.

        Raises OSError or StorageFailed.
        """
        if not self._intake.is_certain():
            return False
        fresh, old = swap.names(self._path, self.level_at)
        with opened(self._path) as source:
            if not self._is_noted(source):
                return False
            return self._swap(
                source,
                fresh,
                old,
                lambda: self._store.read(lambda reader: swap.build(reader, self._file, source, fresh)),
            )

    def change(self, pending: list[Pending]) -> bool | None:
        """Make these changes, which are all that wait, in a twin of the file. False where others were quicker.

        None while the twin is being copied, some of it at a time. Raises OSError or StorageFailed.
        """
        fresh, old = swap.names(self._path, self.level_at)
        with opened(self._path) as source:
            if not self._is_noted(source):
                return False
            base = self._drain.claim_twin(self._intake.blocks, fresh) or self._copied(source, fresh)
            if base is None:
                return None
            return self._swap(source, base.path, old, lambda: self._changed(source, base, pending), base.copied_s)

    def _copied(self, source: int, fresh: Path) -> twin.Base | None:
        """A copy of the file, once it is complete."""
        draft = self._draft
        if draft is None or draft.origin is not self._intake.blocks.origin:
            self.tidy(stopping=True)
            draft = self._draft = twin.Base.empty(fresh, self._intake.blocks)
        try:
            if not draft.copy(source, self._intake.scanned):
                return None
        except OSError:
            self._note_failure(draft.copied_s)
            self.tidy(stopping=True)
            raise
        self._draft = None
        return draft

    def _note_failure(self, took: float) -> None:
        self._failed, self._copied_at, self._copy_took = True, time.monotonic(), took

    def _swap(
        self, source: int, fresh: Path, old: Path, make: Callable[[], swap.Built | None], copied_s: float = 0.0
    ) -> bool:
        started = time.monotonic() - copied_s
        done, built = False, None
        try:
            built = make()
            failpoints.hit("swap.built")
            done = built is not None and self._put_in_place(source, built, old)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(fresh)
            took = time.monotonic() - started
            if not done:
                self._note_failure(took)
        self._failed = not done
        if built is not None and done:
            if built.is_copy:
                self._copied_at, self._copy_took = time.monotonic(), took
            log.info("file rewritten", file=self._path.name, seconds=round(took, 3), copied=built.is_copy)
        return done

    def _is_noted(self, source: int) -> bool:
        """Whether it may be the file that is noted, with more at its end: who appends all the time stops no swap."""
        noted, found = self._intake.noted, of_stat(os.fstat(source)) if source >= 0 else None
        return noted is not None and found is not None and found.same_file(noted) and found.size >= noted.size

    def _changed(self, source: int, base: twin.Base, pending: list[Pending]) -> swap.Built | None:
        """None, and the file is looked at as a whole, where it is not as the ledger has it."""
        intake, size = self._intake, self._intake.scanned
        blocks = intake.blocks.copy()
        try:
            if not twin.level(source, size, base, blocks):
                intake.misplaced = True
                return None
            standing = [one for one in pending if one[0].offset is not None]
            new = [one for one in pending if one[0].offset is None and one[0].sync is not Sync.REMOVE]
            changes = [change_of(line, raw) for line, raw in standing] + intake.junk
            lines = [raw for _, raw in new]
            patched = twin.change(source, size, base.descriptor, changes, lines, intake.ends_torn(), blocks)
        finally:
            os.close(base.descriptor)
        if patched.outcome is not Outcome.DONE or patched.signature is None:
            intake.misplaced = True
            return None
        offsets = patched.offsets[: len(standing)] + patched.offsets[len(changes) :]
        built = swap.Built(base.path, size=patched.signature.size, blocks=blocks, is_copy=base.used_at > 0)
        built.removed = [line.key for line, _ in pending if line.sync is Sync.REMOVE]
        built.placed = [
            (line.key, line.digest, offset, len(raw), True)
            for (line, raw), offset in zip(standing + new, offsets, strict=True)
            if offset is not None
        ]
        built.blanked = [(one.offset, one.length) for one in changes]
        built.blank = intake.blank + sum(one.length + 1 for one in changes)
        return built

    def _put_in_place(self, source: int, built: swap.Built, old: Path) -> bool:
        """Copy what others append meanwhile, until nothing comes between a look and the exchange."""
        noted, end = self._intake.noted, self._intake.scanned
        if noted is None:
            return False
        # Until it is known where the exchange finds its end, a crash leaves a file that has to be read as a whole.
        note = DisplacedFile(old.name, noted.device, noted.inode, UNKNOWN_SIZE, noted.mtime_ns, noted.size)
        self._store.write(lambda tx: tx.note_displaced(self._file, note)).result()
        failpoints.hit("swap.noted")
        for _ in range(TRIES):
            last = swap.catch_up(source, built.path, end)
            if last is None or (last != noted and not self._intake.is_growth(last)):
                break
            if self._exchange(built, old, last):
                return self._mark(built)
            end = last.size
        self._store.write(lambda tx: tx.drop_displaced(self._file, old.name)).result()
        return False

    def _exchange(self, built: swap.Built, old: Path, last: Signature) -> bool:
        """False where the file is not as it was at the `last` look."""
        end, made = end_before(self._path, last.size), signature(built.path)
        if signature(self._path) != last:
            return False
        try:
            swap.exchange(built.path, self._path, old)
        except OSError:
            self._store.write(lambda tx: tx.drop_displaced(self._file, old.name)).result()
            raise
        failpoints.hit("swap.exchanged")
        size = UNKNOWN_SIZE if self._intake.put_back else last.size
        note = DisplacedFile(old.name, last.device, last.inode, size, last.mtime_ns, last.size)
        doubtful = self._intake.grew or last.size > self._intake.scanned
        self._drain.add(Displaced(old, note, end, self._intake.blocks, self._intake.scanned, doubtful))
        self.blanked(built.blanked)
        swap.sync_directory(self._path.parent)
        self._store.write(lambda tx: tx.note_displaced(self._file, note)).result()
        built.made = made
        return True

    def _mark(self, built: swap.Built) -> bool:
        now, made = signature(self._path), built.made
        if now is None or made is None or not _is_as_made(now, made):
            self._intake.misplaced = True
            return False
        self._intake.grew = self._intake.grew or now.size > made.size
        self._intake.write_moves(move for move in built.moves if move[2])

        def work(tx: Transaction) -> None:
            tx.placed_all(built.placed)
            for key in built.removed:
                tx.forget(key)
            tx.set_file_state(self._file, self._intake.state(now, built.size, built.blank))

        self._store.write(work).result()
        failpoints.hit("swap.marked")
        self._intake.swapped(now, built.size, built.blank, built.blocks)
        return True


def _is_as_made(now: Signature, made: Signature) -> bool:
    """Whether it is that file, with more at its end at most."""
    return now.same_file(made) and (now.size > made.size or (now.size, now.mtime_ns) == (made.size, made.mtime_ns))
