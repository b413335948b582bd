"""Putting another file in the place of a shared one: when it may be done, and that nothing is lost by it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.displaced.drain import Drain
from avocet_grpc.mirror.displaced.file import UNKNOWN_SIZE, Displaced, end_digest
from avocet_grpc.mirror.feed import LAST_KEY
from avocet_grpc.mirror.fs.block_digests import BlockDigests, Span
from avocet_grpc.mirror.fs.exchange import catch_up, exchange, names
from avocet_grpc.mirror.fs.signature import Signature, signature, signature_of
from avocet_grpc.mirror.image import FileImage, Trust
from avocet_grpc.mirror.inbound.look import Looker
from avocet_grpc.mirror.index import DisplacedRow
from avocet_grpc.mirror.outbound.build import Built, build_changed, build_compact
from avocet_grpc.mirror.outbound.outbox import Unit
from avocet_grpc.mirror.outbound.reuse import Copy
from avocet_grpc.mirror.outbound.written import last_key_of, note_written
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

PAUSE = 9
"""Between two replacements that write the whole file lie at least this many times the duration of the last one."""
DISPLACED_BYTES = 1024 * 1024 * 1024
"""While the displaced files, which are kept for a minute at least, take more than this, no copy follows at once."""
DRAFT_S = 60.0
"""A copy that was begun, and that nobody has asked for since, is dropped after this time."""
TRIES = 20
"""So often what others append meanwhile is copied after before the new file is given up."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What came of it: the image after it. `done` is False if others were quicker, None while a copy is being made."""

    image: FileImage
    done: bool | None


class Replacer:
    """Replaces one shared file, and leaves the old one to the Drain."""

    def __init__(self, session: Session, path: Path, looker: Looker, drain: Drain) -> None:
        self._session, self._path, self._looker, self._drain = session, path, looker, drain
        self._copied_at = self._copy_took = 0.0
        self._failed = False
        self._draft: Copy | None = None

    def has_rested(self) -> bool:
        """Return whether the last one that wrote the whole file, or came to nothing, is long enough ago."""
        return self._session.clock.monotonic() >= self._copied_at + PAUSE * self._copy_took

    def may_follow(self, image: FileImage) -> bool:
        """Return whether another may follow at once: a displaced file serves again, or one more copy has room."""
        if self._failed:
            return False
        if self._draft is not None or self._drain.can_serve(image.blocks):
            return True
        return len(self._drain) * image.read_to < DISPLACED_BYTES

    def blanked(self, places: Sequence[Span], blocks: BlockDigests) -> None:
        """Those places of the file were blanked, and still stand in those that may take its place."""
        self._drain.blanked(places, blocks)
        if self._draft is not None:
            self._draft = self._draft.with_blanked(tuple(places))

    def tidy(self, *, stopping: bool) -> None:
        """Drop a copy that was begun, and is needed no more."""
        draft = self._draft
        if draft is not None and (stopping or self._session.clock.monotonic() - draft.used_at >= DRAFT_S):
            self._draft = None
            self._session.disk.close(draft.descriptor)
            self._session.disk.unlink(draft.path)

    def close(self) -> None:
        """Close a copy that was begun. Its file stays for the next start to remove: this mirror may not change it."""
        draft, self._draft = self._draft, None
        if draft is not None:
            self._session.disk.close(draft.descriptor)

    def compact(self, image: FileImage, level: Cursor) -> Replaced:
        """Write the file in the order of the index and without blanks; nothing may wait to be written.

        Raises OSError.
        """
        certain = self._looker.is_certain(image)
        if certain.trust is not Trust.EXACT:
            return Replaced(certain, False)
        fresh, old = names(self._session.clock, self._path, _whole(image.level))
        with self._session.disk.reading(self._path) as source:
            if not self._is_noted(certain, source):
                return Replaced(certain, False)
            return self._replace(
                source, fresh, old, certain, (), level, lambda: build_compact(self._session, source, fresh)
            )

    def change(self, image: FileImage, units: Sequence[Unit], level: Cursor) -> Replaced:
        """Make these changes in a copy of the file, and let it take the file's place. Raises OSError."""
        fresh, old = names(self._session.clock, self._path, _whole(image.level))
        with self._session.disk.reading(self._path) as source:
            if not self._is_noted(image, source):
                return Replaced(image, False)
            copy = self._drain.claim(image.blocks, fresh) or self._copied(source, fresh, image)
            if copy is None:
                return Replaced(image, None)

            def build() -> Built | None:
                return build_changed(self._session, source, copy, image, units)

            return self._replace(source, copy.path, old, image, units, level, build, copy.copied_s)

    def _copied(self, source: int, fresh: Path, image: FileImage) -> Copy | None:
        """Return a copy of the file, once it is complete."""
        if self._draft is None or self._draft.origin is not image.blocks.origin:
            self.tidy(stopping=True)
            self._draft = Copy.empty(self._session, fresh, image.blocks)
        try:
            self._draft = self._draft.copied(self._session, source, image.read_to)
        except OSError:
            self._note_failure(self._draft.copied_s)
            self.tidy(stopping=True)
            raise
        if self._draft.common < image.read_to:
            return None
        draft, self._draft = self._draft, None
        return draft

    def _note_failure(self, took: float) -> None:
        self._failed, self._copied_at, self._copy_took = True, self._session.clock.monotonic(), took

    def _replace(
        self,
        source: int,
        fresh: Path,
        old: Path,
        image: FileImage,
        units: Sequence[Unit],
        level: Cursor,
        build: Callable[[], Built | None],
        copied_s: float = 0.0,
    ) -> Replaced:
        clock = self._session.clock
        started = clock.monotonic() - copied_s
        result, built = Replaced(image, False), None
        try:
            built = build()
            failpoints.hit("replace.built")
            if built is None:
                result = Replaced(image.distrust("the file is not as the index has it"), False)
            else:
                result = self._put_in_place(source, built, old, image, units, level)
        finally:
            with contextlib.suppress(OSError):
                self._session.disk.unlink(fresh)
            took = clock.monotonic() - started
            if not result.done:
                self._note_failure(took)
        self._failed = not result.done
        if built is not None and result.done:
            if built.is_copy:
                self._copied_at, self._copy_took = clock.monotonic(), took
            name = SHARED_FILES[self._session.file]
            log.info("file rewritten", file=name, seconds=round(took, 3), copied=built.is_copy)
        return result

    def _is_noted(self, image: FileImage, source: int) -> bool:
        """Return whether it may be the file that is noted, with more at its end: an appender stops nothing."""
        noted = image.signature
        if noted is None or source < 0:
            return False
        found = signature_of(self._session.disk, source)
        return found.same_file(noted) and found.size >= noted.size

    def _put_in_place(
        self, source: int, built: Built, old: Path, image: FileImage, units: Sequence[Unit], level: Cursor
    ) -> Replaced:
        """Copy what others append meanwhile, until nothing comes between a look and the exchange."""
        noted, end = image.signature, image.read_to
        if noted is None:
            return Replaced(image, False)
        # Until it is known where the exchange finds its end, a crash leaves a file that has to be read as a whole.
        row = DisplacedRow(old.name, noted.device, noted.inode, UNKNOWN_SIZE, noted.mtime_ns, noted.size)
        self._note(row)
        failpoints.hit("replace.noted")
        for _ in range(TRIES):
            last = catch_up(self._session.disk, source, built.path, end)
            if last is None or (last != noted and not self._looker.is_growth(image, last)):
                break
            if (made := self._exchange(built, old, last, image)) is not None:
                return self._mark(built, made, image, units, level)
            end = last.size
        self._forget(old)
        return Replaced(image, False)

    def _exchange(self, built: Built, old: Path, last: Signature, image: FileImage) -> Signature | None:
        """Exchange the files; return the new one's signature before, None if the old one is not as at the last look."""
        session, disk = self._session, self._session.disk
        end, made = end_digest(session, self._path, last.size), signature(disk, built.path)
        if made is None or signature(disk, self._path) != last:
            return None
        try:
            exchange(disk, built.path, self._path, old)
        except OSError:
            self._forget(old)
            raise
        failpoints.hit("replace.exchanged")
        size = UNKNOWN_SIZE if image.put_back else last.size
        row = DisplacedRow(old.name, last.device, last.inode, size, last.mtime_ns, last.size)
        grew = image.trust is Trust.GREW or last.size > image.read_to
        rest_until = self._looker.rest_until
        self._drain.add(Displaced(session, old, row, end, image.blocks, image.read_to, grew, rest_until))
        self.blanked(built.blanked, image.blocks)
        disk.sync_directory(self._path.parent)
        self._note(row)
        return made

    def _mark(self, built: Built, made: Signature, image: FileImage, units: Sequence[Unit], level: Cursor) -> Replaced:
        session = self._session
        now = signature(session.disk, self._path)
        if now is None or not _is_as_made(now, made):
            return Replaced(image.distrust("the new file was changed at once"), False)
        image = image.replaced(
            now,
            built.size,
            built.blocks,
            built.end,
            built.newlines,
            built.blank,
            last_key_of(units),
            level,
            grew=now.size > made.size,
        )
        with session.index.transaction():
            if built.moves is not None:
                built.moves.apply()
            note_written(session, self._path, units, built.offsets)
            session.index.save_image(session.file, image)
        failpoints.hit("replace.marked")
        self._looker.wrote(now)
        return Replaced(image, True)

    def _note(self, row: DisplacedRow) -> None:
        with self._session.index.transaction():
            self._session.index.note_displaced(self._session.file, row)

    def _forget(self, old: Path) -> None:
        with self._session.index.transaction():
            self._session.index.forget_displaced(self._session.file, old.name)


def _is_as_made(now: Signature, made: Signature) -> bool:
    """Return whether it is that file, with more at its end at most."""
    return now.same_file(made) and (now.size > made.size or (now.size, now.mtime_ns) == (made.size, made.mtime_ns))


def _whole(level: Cursor) -> int:
    """Return the last revision of which the file has all changes."""
    return level.revision if level.key == LAST_KEY else max(0, level.revision - 1)
