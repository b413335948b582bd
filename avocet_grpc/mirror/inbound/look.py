"""What one look at a file means: nothing new, lines at its end, or another content."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner
from avocet_grpc.mirror.fs.signature import Signature, end_before, has_writer, read_range, signature
from avocet_grpc.mirror.image import FileImage, Trust
from avocet_grpc.mirror.inbound.reconcile import reconcile
from avocet_grpc.mirror.inbound.remains import is_half_of_ours
from avocet_grpc.mirror.inbound.rules import Aside, Look
from avocet_grpc.mirror.inbound.tail import import_lines, import_tail
from avocet_grpc.mirror.lines import Kind, Mark, Order, Row
from avocet_grpc.mirror.session import Session

TORN_S = 5.0
"""After this long nobody will end a last line without a newline any more."""
REWRITE_S = 5.0
"""How long a program that has the file open for writing may be rewriting it."""
SETTLE_S = 10.0
"""A line that disappeared counts as deleted once other programs have left the file alone for this long."""
HELD_S = 60.0
"""After this long, a program that only appends and keeps the file open no longer postpones that."""
CHECK_BYTES = 64 * 1024 * 1024
"""How much of the file is compared by its blocks between two rounds."""


class Looker:
    """Looks at one file, and remembers when others last changed it. Times are monotonic seconds.

    `aside` tells what programs do with displaced files at this moment.
    """

    def __init__(self, session: Session, path: Path, aside: Callable[[], Aside]) -> None:
        self._session, self.path = session, path
        self._seen: Signature | None = None
        self._changed_at = self._rewritten_at = session.clock.monotonic()
        self._ours = range(0)
        self._aside = aside
        self._held_at = self._held_aside_at = -math.inf
        self._as_noted_at = math.inf
        self._half_written_at = -math.inf
        """When all of it was compared last while a program had it open that has not let go of it since."""
        self._left_half = False
        """A write of ours failed: what it left may stand at the end."""

    def begin(self) -> None:
        """At a start: take the file's own time into account."""
        found = self._seen = signature(self._session.disk, self.path)
        if found is not None:
            age = max(0.0, self._session.clock.now() - found.mtime)
            self._changed_at = self._session.clock.monotonic() - age
            self._note_who_has_it()

    def still(self) -> float:
        """Return for how many seconds others have left the file alone."""
        return self._session.clock.monotonic() - self._changed_at

    @property
    def rest_until(self) -> float:
        """The monotonic time until which a program may write the rest of a rewrite: it has not let go of the file."""
        return self._half_written_at + HELD_S

    def wrote(self, now: Signature | None, *, hides: bool = False) -> None:
        """We changed the file. `hides`: without a lease, so that an edit may be hidden by it."""
        self._seen, self._left_half = now, False
        if hides:
            self._changed_at = self._session.clock.monotonic()

    def failed_to_write(self) -> None:
        """A write of ours raised."""
        self._left_half = True

    def wrote_behind_others(self, ours: range) -> None:
        """We appended at these offsets, behind lines that we have not read: the next look reads both."""
        self._ours = ours

    def take_in(self, image: FileImage, *, stopping: bool) -> tuple[FileImage, bool]:
        """Take in what others did. Return the image after it, and whether nothing is left to take in or to wait for.

        Raises FileChanged, OSError, or an error of the ledger; nothing is noted then.
        """
        was_trusted = image.trust is not Trust.MISMATCH
        image, is_in = self._take_in(image, stopping=stopping)
        if was_trusted and image.trust is Trust.MISMATCH:
            return self._compare(image, stopping)
        return image, is_in

    def _take_in(self, image: FileImage, *, stopping: bool) -> tuple[FileImage, bool]:
        found = signature(self._session.disk, self.path)
        if found != self._seen:
            self._seen, self._changed_at = found, self._session.clock.monotonic()
        still = self.still()
        if image.trust is Trust.MISMATCH:
            return self._compare(image, stopping)
        if found == image.signature:
            self._as_noted_at = self._session.clock.now()
            self._note_who_let_go()
            if found is not None and not image.is_read:
                if end_before(self._session.disk, self.path, image.read_to) != image.end:
                    return self._compare(image.distrust("an edit was hidden by growth"), stopping)
                return self._take_rest(image, found, still)
            return self._check(image, still, stopping)
        if found is not None and self.is_growth(image, found):
            image = self._import_tail(image, found)
            return image, image.is_read
        was_empty = image.signature is not None and image.signature.size == 0
        if found is not None and not was_empty and still < REWRITE_S and self._has_writer() is not False:
            return image, False
        return self._compare(image, stopping)

    def is_growth(self, image: FileImage, found: Signature) -> bool:
        """Return whether the file is as noted, with more behind its end. Raises OSError."""
        noted, disk = image.signature, self._session.disk
        if noted is None or not found.has_grown_from(noted):
            return False
        if noted.size == 0:
            # What an empty file grows to may be anything: it is a rewrite.
            return False
        if end_before(disk, self.path, image.read_to) != image.end:
            return False
        return not image.ends_torn or read_range(disk, self.path, image.read_to, image.read_to + 1) == b"\n"

    def is_certain(self, image: FileImage) -> FileImage:
        """Return the image, verified if growth could hide an edit; distrusted if it does. Raises OSError."""
        if image.trust is not Trust.GREW:
            return image
        if self._blocks_match(image, 0, image.read_to):
            return image.verified(image.read_to)
        return image.distrust("an edit was hidden by growth")

    def _check(self, image: FileImage, still: float, stopping: bool) -> tuple[FileImage, bool]:
        """Once others have left the file alone: decide about what is missing, and look for hidden edits."""
        undecided = image.has_missing and self._session.index.marked(self._session.file, Mark.UNDECIDED, 1)
        if undecided and self._has_writer() is not True and not self._was_held_aside():
            return self._compare(image, stopping)
        if image.has_missing and self._may_decide(stopping):
            judged = image.trust is Trust.EXACT or self._blocks_match(image, 0, image.read_to)
            return self._compare(image, stopping, judged=judged)
        if image.trust is Trust.GREW and (still >= SETTLE_S or stopping):
            if image.blocks.size != image.read_to:
                return self._compare(image, stopping)
            end = min(image.read_to, image.checked + CHECK_BYTES)
            if not self._blocks_match(image, image.checked, end):
                return self._compare(image, stopping)
            return image.verified(end), True
        if image.trust is Trust.EXACT and image.blocks.size < image.read_to:
            start = image.blocks.size
            data = read_range(self._session.disk, self.path, start, min(image.read_to, start + CHECK_BYTES))
            if signature(self._session.disk, self.path) == image.signature:
                image = image.learned(data)
        return image, True

    def _may_decide(self, stopping: bool) -> bool:
        """Return whether it is time to decide about what is missing, and nothing says that it is there."""
        return not self._aside().is_unread and (stopping or self._is_left_alone() or self._has_only_grown())

    def _blocks_match(self, image: FileImage, start: int, stop: int) -> bool:
        if image.blocks.size != image.read_to:
            return False
        with self._session.disk.reading(self.path) as descriptor:
            return descriptor >= 0 and image.blocks.matches(self._session.disk, descriptor, start, stop)

    def _has_only_grown(self) -> bool:
        """Return whether others have only appended for long enough, so that what is missing counts as deleted."""
        calm = self._session.clock.monotonic() - self._rewritten_at
        return calm >= SETTLE_S and (calm >= HELD_S or (self._has_writer() is False and not self._was_held_aside()))

    def _is_left_alone(self) -> bool:
        """Return whether others are done with the file, so that what is missing counts as deleted."""
        still, was_held = self.still(), self._was_held()
        return still >= HELD_S or (still >= SETTLE_S and not was_held)

    def _was_held(self) -> bool:
        """Return whether a program may be half-way through writing the whole file, here or in a displaced one.

        If it has just closed that, what it wrote last is still to be read.
        """
        if self._has_writer() is True:
            self._held_at = self._session.clock.monotonic()
        was_held_aside = self._was_held_aside()
        return was_held_aside or self._session.clock.monotonic() - self._held_at < SETTLE_S

    def _was_held_aside(self) -> bool:
        if self._aside().is_held:
            self._held_aside_at = self._session.clock.monotonic()
        return self._session.clock.monotonic() - self._held_aside_at < SETTLE_S

    def _note_who_has_it(self) -> None:
        if self._has_writer() is True:
            self._half_written_at = self._session.clock.monotonic()

    def _note_who_let_go(self) -> None:
        if self._half_written_at > -math.inf and self._has_writer() is not True:
            self._half_written_at = -math.inf

    def _has_writer(self) -> bool | None:
        return has_writer(self._session.disk, self.path)

    def _take_rest(self, image: FileImage, found: Signature, still: float) -> tuple[FileImage, bool]:
        """Take in what is behind the last newline, unless somebody is still writing it."""
        with self._session.disk.reading(self.path) as descriptor:
            # Up to the first line alone: what is left of a large growth is gone through here again and again.
            scanner = LineScanner(self._session.disk, descriptor, image.read_to, found.size)
            next(iter(scanner), None)
        if scanner.end > image.read_to:
            image = self._import_tail(image, found)
            return image, image.is_read
        rest = scanner.rest
        if rest is None:
            return import_lines(self._session, self.path, image, found, [], found.size), True
        if self._left_half and is_half_of_ours(self._session, image.level, rest, still >= TORN_S):
            self._left_half = False
            return self._take_half(image, found, rest), True
        is_whole = self._session.aside.parsed(rest).columns is not None and self._has_writer() is False
        if still < TORN_S and not is_whole:
            return image, False
        return import_lines(self._session, self.path, image, found, [rest], found.size), True

    def _import_tail(self, image: FileImage, found: Signature) -> FileImage:
        is_rest = self._session.clock.monotonic() < self.rest_until
        self._note_who_let_go()
        image = import_tail(self._session, self.path, image, found, self._ours, is_rest=is_rest)
        if image.read_to >= self._ours.stop:
            self._ours = range(0)
        return image

    def _take_half(self, image: FileImage, found: Signature, rest: Line) -> FileImage:
        with self._session.index.transaction():
            row = Row(Kind.STALE, None, None, rest.digest, rest.offset, rest.length, Order(0))
            self._session.index.insert(self._session.file, row)
            return import_lines(self._session, self.path, image, found, [], found.size)

    def _compare(self, image: FileImage, stopping: bool, judged: bool = False) -> tuple[FileImage, bool]:
        if not judged:
            self._rewritten_at = self._session.clock.monotonic()
        left_alone = self._is_left_alone()
        may_go_on = not left_alone and self._was_held()
        look = Look(
            settled=judged or stopping or left_alone,
            may_go_on=may_go_on,
            # If it is time to decide, who has it open is done with it; a stop does not wait for that time.
            is_open=(stopping or not judged) and self._has_writer() is True,
            goes_on_aside=may_go_on and self._was_held_aside(),
            is_held=stopping and may_go_on,
            judged=judged,
            torn_is_given_up=self.still() >= TORN_S,
            half_may_be_ours=self._left_half,
            seen=self._seen,
            as_noted_at=self._as_noted_at,
        )
        try:
            image = reconcile(self._session, self.path, image, look, lambda _: None)
        except FileChanged:
            return image, False
        self._ours = range(0)
        if not judged:
            self._note_who_has_it()
        return image, True
