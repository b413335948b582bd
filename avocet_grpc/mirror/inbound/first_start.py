"""Importing a whole file that neither the ledger nor the index has seen, in one pass and in bounded memory."""

from __future__ import annotations

import contextlib
import gc
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.ports.mirror import START, Cursor, NotEmpty, Outcome, Verdict
from avocet_grpc.core.record import content_of
from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner, Seen, read_line
from avocet_grpc.mirror.fs.signature import signature, signature_of
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.inbound.problems import MalformedLines, log_malformed
from avocet_grpc.mirror.inbound.reconcile import Progress
from avocet_grpc.mirror.inbound.verdicts import Read, living
from avocet_grpc.mirror.lines import Kind, Order, Row, exportable
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints

ROWS_AT_ONCE = 1_000


def adopt_first(session: Session, path: Path, image: FileImage, progress: Progress) -> FileImage:
    """Load the file into the ledger, all or nothing, and make the index from the same pass; return the image after it.

    The index is committed after the ledger: a kill between the two leaves an index that is made without one. Raises
    FileChanged, OSError, or an error of the ledger.
    """
    with session.disk.reading(path) as descriptor, session.index.transaction(), _without_collections():
        session.index.forget_file(session.file)
        load = _Load(session, descriptor, progress)
        image = load.run(path, image)
        session.index.save_image(session.file, image)
    failpoints.hit("import.after")
    log_malformed(session.file, load.malformed, 0)
    return image


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Switch the collection of reference cycles off: lines form none, and it takes a twentieth of a large load."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Load:
    def __init__(self, session: Session, descriptor: int, progress: Progress) -> None:
        self._session, self._descriptor, self._progress = session, descriptor, progress
        self._waiting: deque[Read] = deque()
        self._rows: list[Row] = []
        self._after_key = 0
        self._level = START
        self._seen = Seen()
        self._line_bytes = 0
        self.malformed = MalformedLines(session.aside.reason)

    def run(self, path: Path, image: FileImage) -> FileImage:
        session, disk = self._session, self._session.disk
        found = signature_of(disk, self._descriptor) if self._descriptor >= 0 else None
        size = found.size if found else 0
        scanner = LineScanner(disk, self._descriptor, 0, size, self._seen.feed)
        failpoints.hit("import.before")
        try:
            for outcome in session.ledger.adopt(session.epoch, session.file, self._lines(scanner)):
                self._note_malformed()
                self._note(self._waiting.popleft(), outcome)
        except NotEmpty:
            # Another server was quicker: compare the file with what the ledger has by now.
            raise FileChanged from None
        self._note_malformed()
        self._flush()
        now = signature(disk, path)
        if now != found and (now is None or found is None or not now.has_grown_from(found)):
            # The ledger has what was read: the next look compares it with what stands there now.
            image = image.distrust("the file changed while it was loaded")
        blank = max(0, size - self._line_bytes)
        done = image.compared(
            found,
            self._seen.blocks,
            self._seen.end,
            scanner.newlines,
            blank,
            self._after_key,
            grew=now != found,
            has_missing=False,
            put_back=False,
        )
        return (done.distrust(image.why) if image.why else done).levelled(self._level)

    def _lines(self, scanner: LineScanner) -> Iterator[ParsedLine]:
        """Give the records to the ledger. Malformed lines wait until those before them have their outcome."""
        for number, line in enumerate(scanner):
            if number % 4096 == 0:
                self._progress(line.offset)
            yield from self._parsed(line)
        if scanner.rest is not None:
            yield from self._parsed(scanner.rest)

    def _parsed(self, line: Line) -> Iterator[ParsedLine]:
        self._line_bytes += line.length + 1
        one = Read(line, line.parsed(), self._after_key)
        if one.id is not None:
            self._waiting.append(one)
            yield one.parsed
            return
        # Its bytes are read again when it is noted: many such lines may wait.
        self._waiting.append(Read(replace(line, raw=None), replace(one.parsed, raw=b""), 0))
        if self._waiting[0].id is None:
            self._note_malformed()

    def _note_malformed(self) -> None:
        """The malformed lines that wait first stand behind the record that was noted last."""
        while self._waiting and self._waiting[0].id is None:
            one = self._waiting.popleft()
            self._flush()
            place = one.line.offset, one.line.length, one.line.digest
            raw = read_line(self._session.disk, self._descriptor, *place).raw
            row = Row(Kind.MALFORMED, None, None, one.line.digest, *place[:2], Order(self._after_key))
            self._session.index.insert(self._session.file, row, raw)
            self.malformed.add(one.line, raw)

    def _note(self, one: Read, outcome: Outcome) -> None:
        now = living(outcome)
        if now is None:
            raise FileChanged
        if (now.revision, now.key) > self._level:
            self._level = Cursor(now.revision, now.key)
        if outcome.verdict is Verdict.REPLACED:
            self._step_back(one.id or "")
        if outcome.verdict in (Verdict.NEW, Verdict.REPLACED):
            self._after_key = max(self._after_key, now.key)
            self._rows.append(self._row(Kind.RECORD, one, now.digest, now.revision, Order(now.key)))
            if len(self._rows) >= ROWS_AT_ONCE:
                self._flush()
            return
        self._flush()
        content = content_of(one.parsed)
        row = self._row(Kind.DUPLICATE, one, content, now.revision, Order(self._after_key))
        self._session.index.insert(self._session.file, row, one.line.raw)

    def _row(self, kind: Kind, one: Read, content: bytes | None, revision: int, order: Order) -> Row:
        line, file = one.line, self._session.file
        good = file is File.APPROVED and exportable(file, one.parsed)
        return Row(kind, one.id, content, line.digest, line.offset, line.length, order, revision, is_exportable=good)

    def _step_back(self, id: str) -> None:
        """A later line of the id counts."""
        self._flush()
        lines = self._session.index.lines(self._session.file, [id])
        if (record := lines.record(id)) is not None and record.offset is not None:
            where = record.offset, record.length, record.digest
            line = read_line(self._session.disk, self._descriptor, *where)
            lines.change(record, line.raw, kind=Kind.DUPLICATE)
            self._session.index.save(lines)

    def _flush(self) -> None:
        self._session.index.insert_records(self._session.file, self._rows)
        self._rows = []
