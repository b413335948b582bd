"""One round of the mirror for one file."""

from __future__ import annotations

from pathlib import Path

import structlog

from avocet_grpc.core.ports.mirror import FeedExpired, FileReport
from avocet_grpc.mirror.displaced.drain import Drain
from avocet_grpc.mirror.feed import Feed
from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.signature import end_before, has_writer, signature
from avocet_grpc.mirror.image import FileImage, Trust
from avocet_grpc.mirror.inbound.beginning import Beginning, begin
from avocet_grpc.mirror.inbound.first_start import adopt_first
from avocet_grpc.mirror.inbound.look import TORN_S, Looker
from avocet_grpc.mirror.inbound.reconcile import Progress, reconcile
from avocet_grpc.mirror.inbound.resync import resync
from avocet_grpc.mirror.inbound.rules import Aside, Look, Mode
from avocet_grpc.mirror.inbound.tail import import_tail
from avocet_grpc.mirror.inbound.without_index import compare_without_index
from avocet_grpc.mirror.outbound.outbox import collect
from avocet_grpc.mirror.outbound.replace import Replacer
from avocet_grpc.mirror.outbound.writer import Writer, has_other_names
from avocet_grpc.mirror.session import Session
from avocet_grpc.mirror.set_aside import is_of_a_line

log = structlog.get_logger(__name__)

BLANK_BYTES = 8 * 1024 * 1024
"""A file with fewer blank bytes is not compacted while it runs."""
QUIET_S = 10.0
"""A file that was written within this time is not compacted: what comes meanwhile has to wait."""
SYNC_EVERY_S = 5.0
ADOPT_PAUSE_S = 0.05


class SharedFile:
    """Keeps one file level. It is the file to which `name` leads: others may replace a symbolic link.

    `written` counts the lines of the last round. Every method raises OSError, sqlite3.Error, or an error of the ledger.
    """

    def __init__(self, session: Session, name: Path) -> None:
        self._session, self._name = session, name
        self._image = session.index.image(session.file) or FileImage()
        self._feed = Feed(session.file, self._image.level)
        self._left: list[Drain] = []
        self._use(session.disk.resolve(name))
        self.written = 0
        self.is_copying = False
        self._next_sync = self._wrote_at = 0.0
        self._unsynced = True
        self._stopping = self._compacted = False
        self._behind_since = 0.0

    def _use(self, path: Path) -> None:
        self._path = path
        self._looker = Looker(self._session, path, self._aside)
        self._drain = Drain(self._session, path)
        self._replacer = Replacer(self._session, path, self._looker, self._drain)
        self._writer = Writer(self._session, path, self._looker, self._replacer, self._feed)

    @property
    def image(self) -> FileImage:
        """What is known of the file."""
        return self._image

    @property
    def is_urgent(self) -> bool:
        """True if the next round must not be put off."""
        return self._writer.waits_for_lease

    def adopt(self, *, clean: bool, progress: Progress) -> None:
        """Compare the file with the ledger at start. `clean`: the mirror before this one stopped and had finished."""
        session = self._session
        self._drain.find()
        with session.ledger.view() as view:
            head = view.head()
        while True:
            self._looker.begin()
            try:
                image = self._compare_at_start(clean, progress)
                break
            except FileChanged:
                session.clock.sleep(ADOPT_PAUSE_S)
        self._image = image.of_ledger(head.incarnation)
        self._feed.restart(self._image.level)
        with session.index.transaction():
            session.index.save_image(session.file, self._image)
        # Others may have begun to write it since.
        self._looker.begin()
        self._unsynced = not clean

    def _compare_at_start(self, clean: bool, progress: Progress) -> FileImage:
        session, path = self._session, self._path
        beginning, image = begin(session)
        if beginning is Beginning.NEITHER:
            return self._load(image, progress)
        if beginning is Beginning.LEDGER_ALONE:
            return compare_without_index(session, path, image, progress)
        end = end_before(session.disk, path, image.read_to)
        found = signature(session.disk, path)
        if clean and found == image.signature and image.is_read and not session.index.set_aside(session.file):
            return image.unchanged(end)
        if clean:
            self._sync_what_others_left()
        mode = Mode.CLEAN if clean else Mode.CRASHED
        is_held, still = has_writer(session.disk, path) is True, self._looker.still()
        torn_is_given_up = still >= TORN_S or clean
        look = Look(mode, may_go_on=is_held, is_held=is_held, torn_is_given_up=torn_is_given_up, seen=found)
        return reconcile(session, path, image, look, progress)

    def _sync_what_others_left(self) -> None:
        """Sync what others wrote while nobody served.

        It is about to be believed, and so it would be again after a power cut: what that took would count as deleted.
        """
        with self._session.disk.reading(self._path) as descriptor:
            if descriptor >= 0:
                self._session.disk.sync(descriptor)
        self._session.disk.sync_directory(self._path.parent)

    def _load(self, image: FileImage, progress: Progress) -> FileImage:
        session, path = self._session, self._path
        try:
            return adopt_first(session, path, image, progress)
        except Exception as error:
            if not is_of_a_line(error):
                raise
            # One line at which our own code fails undoes the whole load; taken in as appended lines, it is set aside.
            log.error("file not loaded at once, taken in by steps", file=path.name, exc_info=error)
            return self._taken_in_by_steps(progress)

    def _taken_in_by_steps(self, progress: Progress) -> FileImage:
        session, path = self._session, self._path
        with session.index.transaction():
            session.index.forget_file(session.file)
        found = signature(session.disk, path)
        image, read = FileImage(), -1
        while found is not None and read < image.read_to < found.size:
            read = image.read_to
            progress(read)
            image = import_tail(session, path, image, found, range(0))
        # The looks that follow take in the rest of it: a last line without a newline.
        return image

    def make_sure_it_exists(self) -> None:
        """Make an empty file if there is none, so that a plain reader can open it."""
        self._session.disk.close(self._session.disk.open_to_append(self._path))

    def round(self) -> bool:
        """Take in foreign changes, then write ours. True if nothing is left to do."""
        self.written = 0
        self.is_copying = False
        if (path := self._session.disk.resolve(self._name)) != self._path:
            self._follow(path)
        try:
            self._image, is_in = self._looker.take_in(self._image, stopping=self._stopping)
            if not is_in:
                return self._note_level(False)
            for drain in (self._drain, *self._left):
                drain.run(stopping=self._stopping)
            self._left = [drain for drain in self._left if len(drain)]
            level = self._write_out()
            if level:
                self._compact_if_worth()
        except FileChanged:
            return self._note_level(False)
        except Exception:
            self._note_level(False)
            raise
        self._replacer.tidy(stopping=self._stopping and level)
        if level and self._unsynced and self._session.clock.monotonic() >= self._next_sync:
            self._make_durable()
        return self._note_level(level)

    def _aside(self) -> Aside:
        drains = (self._drain, *self._left)
        return Aside(any(each.has_writers() for each in drains), any(each.is_behind() for each in drains))

    def finish(self, revision: int) -> bool:
        """Take one more step at a stop to a file that has all up to `revision`, compact and durable.

        True once it is.
        """
        self._stopping = True
        if self._image.level.revision >= revision and not self._feed.has_more:
            self._feed.close()
        if not self.round() or len(self._drain) or self._left or self._image.level.revision < revision:
            return False
        self._image = self._looker.is_certain(self._image)
        if self._image.trust is not Trust.EXACT or self._image.has_missing or not self._image.is_read:
            return False
        if self._compacted or self._is_compact() or has_other_names(self._session, self._path):
            return self._make_durable()
        self._compacted = self._compact()
        return False

    def report(self, *, clean: bool = False) -> FileReport:
        """Return what is to be told of the file."""
        counts = self._session.index.counts(self._session.file)
        pending = len(self._feed) + counts.owed + counts.stale
        since = self._behind_since if pending else 0.0
        return FileReport(self._image.level, counts.malformed, counts.duplicates, pending, since, clean)

    def _note_level(self, level: bool) -> bool:
        if level:
            self._behind_since = 0.0
        elif not self._behind_since:
            self._behind_since = self._session.clock.now()
        return level

    def close(self) -> None:
        """Leave nothing open."""
        self._replacer.close()

    def lag_seconds(self) -> float:
        """Return for how long the file has lacked something."""
        return max(0.0, self._session.clock.now() - self._behind_since) if self._behind_since else 0.0

    def _write_out(self) -> bool:
        try:
            units = collect(self._session, self._feed)
        except FeedExpired:
            self._image = resync(self._session, self._image)
            self._feed.restart(self._image.level)
            return False
        if self._image.signature is None:
            self.make_sure_it_exists()
            return False
        if not units:
            self._writer.rested()
            nothing = not self._feed.has_more
            self._image = self._image.levelled(self._feed.level_without(()), nothing_owed=nothing)
            return nothing
        if any(unit.touches_file for unit in units):
            self._unsynced, self._compacted, self._wrote_at = True, False, self._session.clock.monotonic()
        result = self._writer.write(self._image, units, stopping=self._stopping)
        self.is_copying = self._writer.is_copying
        self._image = result.image
        if result.error is not None:
            raise result.error
        self.written = sum(len(unit.writes) + len(unit.blanks) for unit in units)
        return result.done and not self._feed.has_more and not len(self._feed) and not self._owes()

    def _owes(self) -> bool:
        counts = self._session.index.counts(self._session.file)
        return counts.owed + counts.stale > 0

    def _compact_if_worth(self) -> None:
        """In a quiet moment, if more than a quarter of the file is blank; at any, if more than half is."""
        noted, blank = self._image.signature, self._image.blank
        if noted is None or blank <= max(BLANK_BYTES, noted.size / 4) or self._image.has_missing:
            return
        is_time = blank > noted.size / 2 or self._session.clock.monotonic() - self._wrote_at >= QUIET_S
        if is_time and self._replacer.has_rested() and not has_other_names(self._session, self._path):
            self._compact()

    def _compact(self) -> bool:
        result = self._replacer.compact(self._image, self._feed.level_without(()))
        self._image = result.image
        if result.done:
            self._writer.rested()
            self._unsynced = True
        return result.done is True

    def _is_compact(self) -> bool:
        if self._image.blank > 0 or self._image.ends_torn:
            return False
        at = 0
        for place in self._session.index.in_order(self._session.file):
            if place.offset != at:
                return False
            at += place.length + 1
        return True

    def _make_durable(self) -> bool:
        """Sync the file. False if it is not as it is known."""
        with self._session.disk.reading(self._path) as descriptor:
            if descriptor >= 0:
                self._session.disk.sync(descriptor)
        if signature(self._session.disk, self._path) != self._image.signature:
            return False
        self._session.disk.sync_directory(self._path.parent)
        with self._session.index.transaction():
            self._session.index.save_image(self._session.file, self._image)
        self._unsynced = False
        self._next_sync = self._session.clock.monotonic() + SYNC_EVERY_S
        return True

    def _follow(self, path: Path) -> None:
        """Go over to the file to which others made the name lead; it is taken for a rewrite of the one before."""
        log.warning("the name leads to another file now", file=self._name.name)
        self._replacer.tidy(stopping=True)
        # Who has open what was displaced in the old place may still write to it.
        self._left.append(self._drain)
        self._use(path)
        self._image = self._image.distrust("the name leads to another file")
        self._unsynced, self._compacted = True, False
