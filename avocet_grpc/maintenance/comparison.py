"""One shared file compared with the ledger and with the mirror's index, as the mirror would, without doing anything.

The mirror's own comparison runs on a copy of its index, and the ledger's rules judge in memory (`rehearsal`). So what
is said of a line is what will become of it.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from avocet_grpc.core.model import File
from avocet_grpc.core.observer import SILENT
from avocet_grpc.core.ports.mirror import Changed, Cursor, FeedExpired, MirrorReader, Verdict
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.maintenance.rehearsal import NewestChange, RehearsedLedger
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.fs.exchange import displaced_by
from avocet_grpc.mirror.fs.signature import signature_of
from avocet_grpc.mirror.image import FileImage, Trust
from avocet_grpc.mirror.inbound.beginning import Beginning, begin
from avocet_grpc.mirror.inbound.look import SETTLE_S
from avocet_grpc.mirror.inbound.problems import MalformedLines
from avocet_grpc.mirror.inbound.reconcile import Reconciliation
from avocet_grpc.mirror.inbound.resync import resync
from avocet_grpc.mirror.inbound.rules import Look, Mode, is_mass
from avocet_grpc.mirror.inbound.without_index import Remake
from avocet_grpc.mirror.index import Index
from avocet_grpc.mirror.index_database import VERSION, connect
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Row
from avocet_grpc.mirror.session import Session
from avocet_grpc.mirror.set_aside import SetAside
from avocet_grpc.wording import counted

PAGE = 1_000
EXAMPLES = 5
ALL = 2**31


class State(enum.Enum):
    """How the service is, or how it ended."""

    RUNNING = "running"
    CRASHED = "not stopped cleanly"
    STOPPED = "stopped"


LOOKS = {
    State.RUNNING: Look(Mode.RUNNING),
    State.CRASHED: Look(Mode.CRASHED, torn_is_given_up=True),
    State.STOPPED: Look(Mode.CLEAN, torn_is_given_up=True),
}
"""How far the mirror believes the file at its next look."""


class What(enum.Enum):
    """What differs, and what the service will do about it."""

    APPEND = "acknowledged and not in the file yet: will be appended"
    CHANGE = "acknowledged and not in the file yet: will be changed"
    REMOVE = "acknowledged and not in the file yet: will be removed"
    EDITED = "edited by others: will be accepted"
    OVERRULED = "edited by others before ours came: ours will be put back"
    NEW = "new, by others: will be taken in"
    LATER = "repeating an approved id, by others: will count from now on"
    FURTHER = "repeating an id, by others: will be kept and counted"
    MALFORMED = "new and malformed, by others: will be kept and counted"
    STALE = "in an older state of ours: will be blanked"
    PUT_BACK = "missing: will be put back"
    DELETED = "deleted by others: will be accepted; if that was not meant, put the file back first"
    DOUBTFUL = f"missing: deleted, once the file has been still for {SETTLE_S:.0f} s"


TAKEN = {
    Verdict.NEW: What.NEW,
    Verdict.REPLACED: What.LATER,
    Verdict.DUPLICATE: What.FURTHER,
    Verdict.STALE: What.STALE,
}
EDITED = {Verdict.EDITED: What.EDITED, Verdict.STALE: What.OVERRULED, Verdict.OVERRULED: What.OVERRULED}


@contextlib.contextmanager
def copied_index(path: Path) -> Iterator[Index]:
    """A copy of the index, to be changed at will; an empty one if it is missing or damaged.

    The copy is a temporary file of the same size. Raises sqlite3.Error, OSError.
    """
    with TemporaryDirectory(prefix="avocet-verify-") as directory:
        copy = Path(directory) / path.name
        with contextlib.suppress(sqlite3.Error):
            source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            with contextlib.closing(source), contextlib.closing(sqlite3.connect(copy)) as target:
                if source.execute("PRAGMA user_version").fetchone() == (VERSION,):
                    source.backup(target)
        try:
            database = connect(copy, check=False)
        except sqlite3.DatabaseError:
            copy.unlink()
            database = connect(copy, check=False)
        index = Index(database)
        try:
            yield index
        finally:
            index.close()


class Comparison:
    """One comparison. `run` gives what differs, line by line, and whether it is damage.

    Raises FileChanged, OSError, sqlite3.Error.
    """

    def __init__(
        self,
        reader: MirrorReader,
        newest_change: NewestChange,
        index: Index,
        file: File,
        path: Path,
        state: State,
        progress: Callable[[str, int, int], None],
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._reader, self._index, self._file, self._path, self._state = reader, index, file, path, state
        self._progress, self._disk = progress, disk
        self._ledger = RehearsedLedger(reader, newest_change)
        self._session = Session(file, self._ledger, 0, index, disk, clock, SILENT, SetAside(file))
        if state is State.RUNNING:
            # Its next start alone tries them again.
            self._session.aside.know(row.digest for row in index.set_aside(file))
        self._known_rows = max((row.key for row in index.of_kind(file, Kind.MALFORMED, ALL)), default=0)
        self.found: defaultdict[What, list[str]] = defaultdict(list)
        """After `run`: the ids that differ, in the order of the file; malformed lines have none."""
        self._malformed: list[Row] = []
        self._malformed_lines = MalformedLines(self._session.aside.reason)

    def run(self) -> Iterator[tuple[str, bool]]:
        """Compare. A file that is missing is empty."""
        with self._disk.reading(self._path) as descriptor, self._index.transaction():
            found = signature_of(self._disk, descriptor) if descriptor >= 0 else None
            size = found.size if found else 0
            image = self._compared(descriptor, size)
            self._progress(SHARED_FILES[self._file], size, size)
            self._sort_verdicts()
            records = self._hold_against_the_ledger(self._waiting(image))
            self._sort_rows()
        damage = list(self._damage(found is not None, image, size, records))
        yield from self._told()
        yield from ((text, True) for text in damage)
        for displaced in displaced_by(self._disk, self._path):
            yield f"{displaced.name} is left of a rewrite and may hold others' lines: will be read, then removed", False

    def _compared(self, descriptor: int, size: int) -> FileImage:
        """Let the mirror's own comparison change the rows of the copy."""
        session, path = self._session, self._path
        found = signature_of(self._disk, descriptor) if descriptor >= 0 else None
        beginning, image = begin(session)

        def progress(read: int) -> None:
            self._progress(SHARED_FILES[self._file], read, size)

        if beginning is Beginning.BOTH:
            look = replace(LOOKS[self._state], seen=found)
            reconciliation = Reconciliation(session, path, image, look, descriptor, found)
            image, self._malformed_lines = reconciliation.run(progress), reconciliation.malformed
            return image
        session.index.forget_file(self._file)
        remake = Remake(session, path, descriptor, is_restored=image.trust is Trust.RESTORED)
        image, self._malformed_lines = remake.run(image, progress), remake.malformed
        return image

    def _sort_verdicts(self) -> None:
        for id, verdict in self._ledger.taken:
            if (what := TAKEN.get(verdict)) is not None:
                self.found[what].append(id)
        for id, verdict in self._ledger.edited:
            if (what := EDITED.get(verdict)) is not None:
                self.found[what].append(id)
        for id, verdict in self._ledger.deleted:
            self.found[What.DELETED if verdict is Verdict.DELETED else What.PUT_BACK].append(id)

    def _waiting(self, image: FileImage) -> set[str]:
        """Note what the ledger has changed since the file was level with it, and return those ids."""
        waiting: set[str] = set()
        try:
            for page in self._changes(image.level):
                lines = self._index.lines(self._file, [one.id for one in page])
                for one in page:
                    waiting.add(one.id)
                    self._note_waiting(lines, one)
        except FeedExpired:
            resync(self._session, image)
        return waiting

    def _changes(self, after: Cursor) -> Iterator[list[Changed]]:
        while page := self._reader.changes(self._file, after, PAGE):
            yield page
            after = Cursor(page[-1].revision, page[-1].key)

    def _note_waiting(self, lines: Lines, one: Changed) -> None:
        """A change that the file may lack. What was decided of the id just now was decided after it."""
        row = lines.record(one.id)
        if one.raw is None:
            if any(row.stands and row.revision < one.removed_revision for row in lines.of(one.id)):
                self.found[What.REMOVE].append(one.id)
        elif row is None or (row.offset is None and row.mark is Mark.NONE):
            self.found[What.APPEND].append(one.id)
        elif row.content != one.digest and row.mark is Mark.NONE and row.revision < one.revision:
            self.found[What.CHANGE].append(one.id)

    def _hold_against_the_ledger(self, waiting: set[str]) -> int:
        """Check that each record of the ledger is in the file or waits. Return how many there are."""
        count, after = 0, 0
        decided = waiting.union(*self.found.values())
        while page := self._reader.records(self._file, after, PAGE):
            lines = self._index.lines(self._file, [one.id for one in page])
            for one in page:
                row = lines.record(one.id)
                if one.id not in decided and row is None:
                    self.found[What.PUT_BACK].append(one.id)
                elif one.id not in decided and row is not None and row.content != one.digest and not row.mark:
                    self.found[What.CHANGE].append(one.id)
            count, after = count + len(page), page[-1].key
        return count

    def _sort_rows(self) -> None:
        """Note what the file owes to rows, and what is malformed."""
        index, file = self._index, self._file
        decided = set[str]().union(*self.found.values())
        for row in index.marked(file, Mark.OWED, ALL):
            if row.id is None or row.id not in decided:
                self.found[What.CHANGE if row.stands else What.PUT_BACK].append(row.id or "")
        self.found[What.DOUBTFUL] += [row.id or "" for row in index.marked(file, Mark.MISSING, ALL)]
        stale = index.of_kind(file, Kind.STALE, ALL)
        self.found[What.STALE] += [row.id or "" for row in stale if row.id is None or row.id not in decided]
        self._malformed = [row for row in index.of_kind(file, Kind.MALFORMED, ALL) if row.key > self._known_rows]
        self.found[What.MALFORMED] += [""] * len(self._malformed)

    def _damage(self, exists: bool, image: FileImage, size: int, records: int) -> Iterator[str]:
        if not exists and records:
            yield "the file is missing"
        lost = [one for what in (What.DELETED, What.DOUBTFUL, What.PUT_BACK) for one in self.found[what]]
        mass = is_mass(len(lost), records)
        torn = image.ends_torn and any((row.offset or 0) + row.length == size for row in self._malformed)
        if self._state is State.STOPPED and torn:
            yield "it is damaged: it ends inside a line"
        elif lost and (mass or image.blank >= size or torn):
            yield "it is damaged: whole parts of it are missing"

    def _told(self) -> Iterator[tuple[str, bool]]:
        for what in What:
            if found := self.found[what]:
                which = [one for one in found if one]
                more = ", ..." if len(which) > EXAMPLES else ""
                # Other programs chose the ids: control characters in them must not reach a terminal.
                names = ", ".join(one.encode("unicode_escape").decode() for one in which[:EXAMPLES])
                shown = f" ({names}{more})" if names else ""
                yield f"{len(found):,} {what.value}{shown}", False
                if what is What.MALFORMED:
                    yield from ((text, False) for text in self._named_malformed())

    def _named_malformed(self) -> Iterator[str]:
        """Name the new malformed lines as the log will: by number and reason."""
        new = {row.offset for row in self._malformed}
        named = sorted((one for one in self._malformed_lines.named if one.offset in new), key=lambda one: one.number)
        for one in named:
            yield f"line {one.number}: {one.reason}"
        if more := len(self._malformed) - len(named):
            yield counted(more, "more malformed line")
