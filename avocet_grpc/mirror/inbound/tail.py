"""Taking in what other programs appended to a file."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from avocet_grpc.core.ports.mirror import ABSENT, Cursor, Expected, Found, How
from avocet_grpc.core.record import content_of
from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner, read_line
from avocet_grpc.mirror.fs.signature import Signature, end_before, read_range
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.inbound.problems import MalformedLines, log_malformed
from avocet_grpc.mirror.inbound.verdicts import Read, Verdicts
from avocet_grpc.mirror.lines import Lines, Mark, Row, exportable
from avocet_grpc.mirror.session import Session, is_fresh
from avocet_grpc.telemetry import failpoints

BATCH_BYTES = 8 * 1024 * 1024
"""How much of what others wrote is one command, and one commit of the ledger."""
BATCH_LINES = 5_000


def import_tail(
    session: Session, path: Path, image: FileImage, found: Signature, ours: range, *, is_rest: bool = False
) -> FileImage:
    """Take in whole lines behind what was read, a batch at most; return the image after it.

    `ours` are the offsets that the mirror itself wrote last. `is_rest`: a program that writes the whole file goes on.

    Raises OSError, FileChanged, or an error of the ledger; nothing is noted then.
    """
    lines: list[Line] = []
    with session.disk.reading(path) as descriptor:
        if descriptor < 0:
            raise FileChanged
        scanner = LineScanner(session.disk, descriptor, image.read_to, found.size)
        for line in scanner:
            lines.append(line)
            if scanner.end - image.read_to > BATCH_BYTES or len(lines) >= BATCH_LINES:
                break
    return import_lines(session, path, image, found, lines, scanner.end, ours, is_rest=is_rest)


def import_lines(
    session: Session,
    path: Path,
    image: FileImage,
    found: Signature,
    lines: Sequence[Line],
    end: int,
    ours: range = range(0),
    *,
    is_rest: bool = False,
) -> FileImage:
    """Take these lines in, after which the file is read up to `end`. Raises what `import_tail` raises."""
    blank = end - image.read_to - sum(line.length + 1 for line in lines)
    read = image.imported(found, _read_data(session, path, image.read_to, end), blank)
    if end_before(session.disk, path, image.read_to) != image.end:
        # Others wrote the whole file since it was looked at: these lines were not appended to what was noted.
        raise FileChanged
    failpoints.hit("import.before")
    reads, before = [Read(line, session.aside.parsed(line), image.last_key) for line in lines], image.newlines
    with session.index.transaction():
        rows = session.index.lines(session.file, ids_of(reads))
        how, unseen = _what_authors_know(session, image.level, rows, reads, found.mtime, is_rest=is_rest)
        if how is How.REWRITTEN and _may_edit(rows, reads):
            return image.distrust("the rest of a rewrite was appended")
        image = read.ordered(take_appended(session, path, reads, rows, how=how, unseen=unseen, ours=ours))
        session.index.save_image(session.file, image)
    failpoints.hit("import.after")
    malformed = MalformedLines(session.aside.reason)
    for one in reads:
        if one.id is None or one.line.digest in session.aside:
            malformed.add(one.line, one.line.raw)
    log_malformed(session.file, malformed, before)
    return image


def ids_of(reads: Sequence[Read]) -> set[str]:
    """Return the ids of those that are records."""
    return {one.id for one in reads if one.id is not None}


def _what_authors_know(
    session: Session, level: Cursor, lines: Lines, reads: Sequence[Read], mtime: float, *, is_rest: bool
) -> tuple[How, set[str]]:
    """Return how the lines came, and the ids of which their author may not know what the service did last.

    A program that writes the whole file in place may be seen after its first lines, and the rest looks like an append.
    The lines count as a rewrite if that program has not let go of the file since. They also do if one of them is, byte
    for byte, a record that the file lacked, or lacked until we put it there: it was read before.
    """
    now = session.changed(sorted(ids_of(reads)))
    unseen = session.unseen_removals(now, level, mtime)
    records = ((lines.record(one.id), one.line.digest) for one in reads if one.id is not None)
    same = (row for row, digest in records if row is not None and row.digest == digest)
    if is_rest or any(not row.stands or is_fresh(row.written_at, mtime) for row in same):
        return How.REWRITTEN, unseen | {id for id, state in now.items() if state.raw is not None}
    rows = (lines.record(id) for id in now)
    fresh = {row.id for row in rows if row is not None and row.id is not None and is_fresh(row.written_at, mtime)}
    return How.APPENDED, unseen | fresh


def _may_edit(lines: Lines, reads: Sequence[Read]) -> bool:
    """Return whether one of the lines may be an edit of a record that is missing: then the whole file is compared."""
    records = ((lines.record(one.id), one.line.digest) for one in reads if one.id is not None)
    return any(row is not None and row.mark is Mark.MISSING and row.digest != digest for row, digest in records)


def _read_data(session: Session, path: Path, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes once more, in parts: one line may have more than fits into memory. Raises FileChanged."""
    while start < end:
        data = read_range(session.disk, path, start, min(end, start + BATCH_BYTES))
        if not data:
            raise FileChanged
        yield data
        start += len(data)


def take_appended(
    session: Session,
    path: Path,
    reads: Sequence[Read],
    lines: Lines,
    *,
    how: How,
    is_late: bool = False,
    unseen: Collection[str] = (),
    in_front: bool = False,
    ours: range = range(0),
) -> int:
    """Report lines and note what the ledger decided; return the highest order key. Call it inside a transaction.

    `lines` are the rows of their ids; they are changed and stored. `is_late`: they stand in a displaced file. `unseen`
    are the ids of which the author may not know what the service did last. `in_front`: a version of its record stood
    behind each, so that none takes the record's place.
    """
    with_id = [one for one in reads if one.id is not None]
    owed: dict[bytes, deque[Row]] = {}
    digests = {one.line.digest for one in reads}
    for row in [] if is_late else session.index.absent_lines(session.file, Mark.OWED, digests):
        owed.setdefault(row.digest, deque()).append(row)
    verdicts = Verdicts(session, lines, reader_of(session, path), is_late=is_late, ours=ours, owed=owed)
    expected = [ABSENT] * len(with_id) if in_front else expectations(lines, with_id)
    found = [Found(one.parsed, what, one.id in unseen) for one, what in zip(with_id, expected, strict=True)]
    outcomes = iter(session.take_in(found, how))
    for one in reads:
        outcome = None if one.id is None else next(outcomes)
        if outcome is None:
            # The record before it may be among these lines.
            verdicts.malformed(replace(one, after_key=max(one.after_key, verdicts.last_key)))
        else:
            verdicts.taken(one, outcome)
    verdicts.settle()
    session.index.save(lines)
    return verdicts.last_key


def reader_of(session: Session, path: Path) -> _Reader:
    """Return how to read a line that stands in the file."""
    return _Reader(session, path)


class _Reader:
    def __init__(self, session: Session, path: Path) -> None:
        self._session, self._path = session, path

    def __call__(self, row: Row) -> bytes:
        with self._session.disk.reading(self._path) as descriptor:
            if descriptor < 0 or row.offset is None:
                raise FileChanged
            return read_line(self._session.disk, descriptor, row.offset, row.length, row.digest).raw or b""


def expectations(lines: Lines, reads: Sequence[Read]) -> list[Expected]:
    """Return what stands in the file for the id of each line, just before that line.

    A line may follow another new one of its id: then that one is expected to be the record, if it counts more.
    """
    times = Counter(one.id for one in reads)
    last: dict[str, tuple[Expected, bool]] = {}
    found: list[Expected] = []
    for one in reads:
        id = one.id or ""
        if id not in last:
            record = lines.record(id)
            last[id] = (record.expected, record.is_exportable) if record else (ABSENT, False)
        before, was_good = last[id]
        found.append(before)
        if times[id] > 1 and ((good := exportable(lines.file, one.parsed)) or not was_good):
            last[id] = Expected(content_of(one.parsed), None), good
    return found
