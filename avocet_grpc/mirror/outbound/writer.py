"""Writing what the outbox planned to one file, by the cheapest way that applies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.mirror.feed import Feed
from avocet_grpc.mirror.fs.disk import Lease
from avocet_grpc.mirror.fs.lease import PATIENCE_S, lease_now
from avocet_grpc.mirror.fs.signature import has_writer
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.inbound.look import Looker
from avocet_grpc.mirror.outbound.append import append_lines
from avocet_grpc.mirror.outbound.outbox import Unit
from avocet_grpc.mirror.outbound.patch import MAX_CHANGES, Outcome, patch
from avocet_grpc.mirror.outbound.replace import Replaced, Replacer
from avocet_grpc.mirror.outbound.written import blanks_of, last_key_of, lines_of, note_written
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints


@dataclass(frozen=True, slots=True)
class Result:
    """The image after the writes, and whether all units were written."""

    image: FileImage
    done: bool
    error: OSError | None = None


class Writer:
    """Chooses among append, patch and replacement for one file."""

    def __init__(self, session: Session, path: Path, looker: Looker, replacer: Replacer, feed: Feed) -> None:
        self._session, self._path, self._feed = session, path, feed
        self._looker, self._replacer = looker, replacer
        self._refused_since: float | None = None
        self.is_copying = False
        """True if the last write was a part of a copy of the file: the next round goes on with it at once."""

    @property
    def waits_for_lease(self) -> bool:
        """True if a lease was refused: the next round must not be put off then."""
        return self._refused_since is not None

    def rested(self) -> None:
        """Nothing waits, or the file was replaced: a lease that was refused does not matter any more."""
        self._refused_since = None

    def write(self, image: FileImage, units: Sequence[Unit], *, stopping: bool) -> Result:
        """Write the units, or as many as can be written now. Raises OSError."""
        self.is_copying = False
        units, image = self._note_those_without_a_write(image, units)
        if not units:
            return Result(image, True)
        if (done := self._replace_if_due(image, units, stopping)) is not None:
            image = done.image
            if done.done is not None:
                return Result(image, done.done)
        try:
            return self._write_in_place(image, units)
        except OSError:
            self._looker.failed_to_write()
            raise

    def _write_in_place(self, image: FileImage, units: Sequence[Unit]) -> Result:
        appends = [unit for unit in units if not unit.blanks]
        changes = [unit for unit in units if unit.blanks and not self._needs_replacement(unit)]
        if appends:
            result = self._append(image, appends)
            if not result.done:
                return result
            image = result.image
        for part in _parts(changes):
            result = self._patch(image, part)
            if not result.done:
                return result
            image = result.image
        return Result(image, len(appends) + len(changes) == len(units))

    def _note_those_without_a_write(self, image: FileImage, units: Sequence[Unit]) -> tuple[list[Unit], FileImage]:
        """Rows that change without a write, and changes that the file has already."""
        quiet = [unit for unit in units if not unit.touches_file]
        if quiet:
            is_news = any(not unit.is_empty for unit in quiet)
            image = self._commit(image.levelled(self._level(quiet)), quiet, (), save=is_news)
        return [unit for unit in units if unit.touches_file], image

    def _level(self, units: Sequence[Unit]) -> Cursor:
        return self._feed.level_without({unit.id for unit in units if unit.id is not None})

    def _commit(
        self, image: FileImage, units: Sequence[Unit], offsets: Sequence[int], *, save: bool = True
    ) -> FileImage:
        if save:
            with self._session.index.transaction():
                note_written(self._session, self._path, units, offsets)
                self._session.index.save_image(self._session.file, image)
        self._feed.done({unit.id for unit in units if unit.id is not None})
        return image

    def _needs_replacement(self, unit: Unit) -> bool:
        return unit.replaces and not has_other_names(self._session, self._path)

    def _replace_if_due(self, image: FileImage, units: Sequence[Unit], stopping: bool) -> Replaced | None:
        """None if nothing asks for a replacement, or it may not be made yet."""
        if image.signature is None:
            return None
        puts_back = image.put_back and any(not unit.blanks for unit in units)
        # A program that rewrites the file would overwrite what is put back at its end.
        is_rewritten = puts_back and has_writer(self._session.disk, self._path) is not False
        needed = any(self._needs_replacement(unit) for unit in units)
        if not (
            is_rewritten or (needed and self._may_replace(image, stopping)) or self._lease_is_late(image, stopping)
        ):
            return None
        level = self._level(units)
        replaced = self._replacer.change(image, units, level)
        self.is_copying = replaced.done is None
        if replaced.done:
            self._feed.done({unit.id for unit in units if unit.id is not None})
            self.rested()
        return replaced

    def _may_replace(self, image: FileImage, stopping: bool) -> bool:
        return stopping or self._replacer.has_rested() or self._replacer.may_follow(image)

    def _lease_is_late(self, image: FileImage, stopping: bool) -> bool:
        """Return whether no lease could be had for long enough, and none can now.

        It is asked right after a look at the file: while a lease is waited for, others append, which forbids it.
        """
        now = self._session.clock.monotonic()
        if self._refused_since is None or now - self._refused_since < PATIENCE_S:
            return False
        lease = lease_now(self._session.disk, self._path)
        if lease is Lease.GRANTED:
            self.rested()
            return False
        if stopping or self._replacer.has_rested():
            return True
        return lease is Lease.REFUSED and self._replacer.may_follow(image)

    def _append(self, image: FileImage, units: Sequence[Unit]) -> Result:
        session, torn, before = self._session, image.ends_torn, image.signature
        started = session.clock.monotonic()
        blob = (b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines_of(units))
        done = append_lines(session, self._path, blob, torn, before)
        if done is None:
            return Result(image, False)
        if done.error is not None:
            image = image.touched(done.signature)
            self._looker.wrote(done.signature)
            return Result(image, False, done.error)
        if not done.leased and self._refused_since is None:
            self._refused_since = started
        start = image.read_to + torn
        same = before is None or before.same_file(done.signature)
        if done.offset != start or done.signature.size != image.read_to + len(blob) or not same:
            # Others were quicker: the next look finds their lines and ours in the tail.
            self._looker.wrote_behind_others(range(done.offset, done.offset + len(blob)))
            return Result(image, False)
        offsets: list[int] = []
        for line in lines_of(units):
            offsets.append(start)
            start += len(line) + 1
        level, key = self._level(units), last_key_of(units)
        image = image.appended(done.signature, blob, key, level, done.leased)
        image = self._commit(image, units, offsets)
        self._looker.wrote(done.signature, hides=not done.leased)
        return Result(image, True)

    def _patch(self, image: FileImage, units: Sequence[Unit]) -> Result:
        session, noted = self._session, image.signature
        if noted is None:
            return Result(image.distrust("there is no file to change"), False)
        blanks, new = blanks_of(units), lines_of(units)
        result = patch(session, self._path, noted, blanks, new, image.ends_torn, image.blocks)
        if result.outcome in (Outcome.REFUSED, Outcome.UNSUPPORTED):
            if self._refused_since is None:
                waited = PATIENCE_S if result.outcome is Outcome.UNSUPPORTED else 0.0
                self._refused_since = session.clock.monotonic() - waited
            return Result(image, False)
        self.rested()
        now = result.signature
        if result.error is not None and now is not None:
            self._looker.wrote(now)
            return Result(image.touched(now), False, result.error)
        if result.outcome is Outcome.MISPLACED:
            return Result(image.distrust("a line is not where it should be"), False)
        if result.outcome is not Outcome.DONE or now is None or result.blocks is None:
            return Result(image, False)
        failpoints.hit("patch.after")
        blank = sum(one.length + 1 for one in blanks)
        spans = [(one.offset, one.length) for one in blanks]
        newlines = len(new) + (image.ends_torn and bool(new))
        before = image.blocks
        level, key = self._level(units), last_key_of(units)
        image = image.patched(now, result.blocks, result.end, newlines, blank, key, level)
        image = self._commit(image, units, result.offsets)
        self._looker.wrote(now)
        self._replacer.blanked(spans, before)
        return Result(image, True)


def has_other_names(session: Session, path: Path) -> bool:
    """Return whether the file has hard links: a replacement would leave them with the old content."""
    found = session.disk.stat(path)
    return found is not None and found.links > 1


def _parts(units: Sequence[Unit]) -> list[list[Unit]]:
    """Return the units in lists that blank at most MAX_CHANGES lines each, if one alone does not blank more."""
    parts: list[list[Unit]] = []
    count = MAX_CHANGES
    for unit in units:
        if count + len(unit.blanks) > MAX_CHANGES:
            parts.append([])
            count = 0
        parts[-1].append(unit)
        count += len(unit.blanks)
    return parts
