"""Comparing a file with the ledger without an index that says what was in the file.

The index was lost, or the ledger is an older one that was restored. Nothing is deleted. New records are accepted. An
edit of a version of the service is accepted if it holds what the service's last change set, any other edit always. A
restored ledger accepts all edits, because the file may have what the ledger lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import Changed, Cursor, Edit, Expected, Found, How, Verdict
from avocet_grpc.core.record import content_of, digest_of, parse
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.feed import LAST_KEY
from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner, Seen, read_line
from avocet_grpc.mirror.fs.signature import Signature, signature, signature_of
from avocet_grpc.mirror.image import FileImage, Trust
from avocet_grpc.mirror.inbound.problems import MalformedLines, log_malformed
from avocet_grpc.mirror.inbound.reconcile import Progress
from avocet_grpc.mirror.inbound.remains import is_half_of_ours
from avocet_grpc.mirror.inbound.rules import Mode
from avocet_grpc.mirror.inbound.tail import BATCH_BYTES, BATCH_LINES
from avocet_grpc.mirror.inbound.verdicts import Read, Verdicts, living
from avocet_grpc.mirror.index import ALL_BEFORE
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Order, Row, effective, exportable, owed_record, standing
from avocet_grpc.mirror.session import Session
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

IDS_AT_ONCE = 1_000


def compare_without_index(session: Session, path: Path, image: FileImage, progress: Progress) -> FileImage:
    """Make the index from the file and the ledger; return the image after it.

    Raises FileChanged if the file changed meanwhile other than by growth, OSError, or an error of the ledger; nothing
    is noted then.
    """
    with session.disk.reading(path) as descriptor, session.index.transaction():
        session.index.forget_file(session.file)
        remake = Remake(session, path, descriptor, is_restored=image.trust is Trust.RESTORED)
        image = remake.run(image, progress)
        session.index.save_image(session.file, image)
    failpoints.hit("import.after")
    log_malformed(session.file, remake.malformed, 0)
    remake.report()
    return image


class Remake:
    """First every line becomes a row, then each id is decided, then what the file lacks is marked as owed.

    `compare_without_index` runs it in a transaction of the index.
    """

    def __init__(self, session: Session, path: Path, descriptor: int, *, is_restored: bool) -> None:
        self._session, self._path, self._descriptor = session, path, descriptor
        self._is_restored = is_restored
        self._found: Signature | None = signature_of(session.disk, descriptor) if descriptor >= 0 else None
        self._size = self._found.size if self._found else 0
        self._after_key = self._last_key = 0
        self._line_bytes = self._owed = 0
        self.malformed = MalformedLines(session.aside.reason)

    def run(self, image: FileImage, progress: Progress) -> FileImage:
        """Make the rows. Raises what `compare_without_index` raises."""
        session = self._session
        with session.ledger.view() as view:
            head = view.head()
        seen = Seen()
        scanner = LineScanner(session.disk, self._descriptor, 0, self._size, seen.feed)
        self._note_lines(scanner, progress)
        after = signature(session.disk, self._path)
        grew = after != self._found
        if grew and (after is None or self._found is None or not after.has_grown_from(self._found)):
            raise FileChanged
        failpoints.hit("import.before")
        self._decide_all()
        self._note_what_lacks()
        now = session.clock.now()
        session.index.note_removals(session.file, [ALL_BEFORE], now, now)
        image = image.compared(
            self._found,
            seen.blocks,
            seen.end,
            scanner.newlines,
            max(0, self._size - self._line_bytes),
            self._last_key,
            grew=grew,
            has_missing=False,
            put_back=self._owed > 0,
        )
        return image.levelled(Cursor(head.revision, LAST_KEY))

    def report(self) -> None:
        """Say what came of it."""
        log.log(
            30 if self._is_restored else 20,
            "the ledger was restored: compared the file without an index" if self._is_restored else "index made again",
            file=SHARED_FILES[self._session.file],
            put_back=self._owed,
        )

    def _note_lines(self, scanner: LineScanner, progress: Progress) -> None:
        batch: list[Line] = []
        size = 0
        for line in scanner:
            batch.append(line)
            size += line.length
            if size > BATCH_BYTES or len(batch) >= BATCH_LINES:
                progress(line.offset)
                self._note_batch(batch)
                batch, size = [], 0
        if (rest := scanner.rest) is not None:
            if is_half_of_ours(self._session, Cursor(0, 0), rest, True):
                row = Row(Kind.STALE, None, None, rest.digest, rest.offset, rest.length, Order(0))
                self._session.index.insert(self._session.file, row)
            else:
                batch.append(rest)
            self._line_bytes += rest.length + 1 if rest not in batch else 0
        self._note_batch(batch)

    def _note_batch(self, batch: Sequence[Line]) -> None:
        """Each line becomes a row; the line with the ledger's content is the record."""
        file, index = self._session.file, self._session.index
        reads = [Read(line, self._session.aside.parsed(line), 0) for line in batch]
        ids = {one.id for one in reads if one.id is not None}
        now, lines = self._session.changed(sorted(ids)), index.lines(file, ids)
        spelled: dict[str, tuple[str, Expected, ParsedLine]] = {}
        for one in reads:
            self._line_bytes += one.line.length + 1
            if one.id is None:
                self._note_malformed(lines, one)
            elif (row := self._note_line(lines, one, now.get(one.id))) is not None:
                spelled[one.id] = one.id, row.expected, one.parsed
        index.save(lines)
        # The ledger keeps the spelling that the file has, in case the line has to be put back.
        self._session.respell([one for one in spelled.values() if one[2].raw != now[one[0]].raw])

    def _note_malformed(self, lines: Lines, one: Read) -> None:
        line = one.line
        aside = line.digest if line.digest in self._session.aside else None
        row = Row(Kind.MALFORMED, None, aside, line.digest, line.offset, line.length, Order(self._after_key))
        lines.add(row, line.raw)
        self.malformed.add(line, line.raw)

    def _note_line(self, lines: Lines, one: Read, now: Changed | None) -> Row | None:
        """Add the row; return it if it is the record."""
        file, line = self._session.file, one.line
        good = exportable(file, one.parsed)
        is_bytes = now is not None and now.raw is not None and digest_of(now.raw) == line.digest
        content = now.digest if is_bytes and now is not None else content_of(one.parsed)
        where = line.digest, line.offset, line.length
        if now is None or now.raw is None or content != now.digest:
            row = Row(Kind.DUPLICATE, one.id, content, *where, Order(self._after_key), is_exportable=good)
            lines.add(row, line.raw)
            return None
        self._after_key = self._last_key = max(self._last_key, now.key)
        record = lines.record(one.id or "")
        counts = record is None or file is File.APPROVED
        if record is not None and counts:
            lines.change(record, self._read_row(record), kind=Kind.DUPLICATE, written_at=None)
        kind = Kind.RECORD if counts else Kind.DUPLICATE
        written_at = self._session.clock.now() if counts and now.source is Source.SERVICE else None
        order = Order(now.key) if counts else Order(self._after_key)
        row = Row(kind, one.id, content, *where, order, now.revision, written_at, good)
        lines.add(row, None if counts else line.raw)
        return row if counts else None

    def _decide_all(self) -> None:
        after = ""
        while ids := self._session.index.ids_with_duplicates(self._session.file, after, IDS_AT_ONCE):
            self._decide(ids)
            after = ids[-1]

    def _decide(self, ids: Sequence[str]) -> None:
        index = self._session.index
        lines, now = index.lines(self._session.file, ids), self._session.changed(ids)
        rows = {id: standing(lines.of(id)) for id in ids}
        pairs = {(id, row.content) for id, all in rows.items() for row in all if row.content is not None}
        known = self._session.knows([(id, content) for id, content in pairs if content is not None])
        verdicts = Verdicts(self._session, lines, self._read_row, mode=Mode.CRASHED)
        edits: list[tuple[Row, Changed]] = []
        news: list[str] = []
        for id in ids:
            state = now.get(id)
            if state is None or state.raw is None:
                news.append(id)
            elif (edit := self._sort(lines, rows[id], state, known)) is not None:
                edits.append((edit, state))
        self._accept(lines, edits)
        self._take_new(verdicts, rows, news, now)
        verdicts.settle()
        index.save(lines)
        self._last_key = max(self._last_key, verdicts.last_key)

    def _sort(self, lines: Lines, rows: Sequence[Row], state: Changed, known: set[tuple[str, bytes]]) -> Row | None:
        """Say what each line of a living record is; return the line that may be an edit of it."""
        record = lines.record(state.id)
        old = [row for row in rows if row is not record and (row.id, row.content) in known]
        if record is None and old:
            record = lines.change(old.pop(0), kind=Kind.RECORD, mark=Mark.OWED, order=Order(state.key))
        for row in rows:
            if record is not None and row.key != record.key and (row in old or row.digest == record.digest):
                lines.change(row, kind=Kind.STALE)
            elif record is None or row.key != record.key:
                lines.change(row, revision=state.revision)
        return effective(lines.file, rows) if record is None else None

    def _accept(self, lines: Lines, edits: Sequence[tuple[Row, Changed]]) -> None:
        found: list[Edit] = []
        for row, state in edits:
            parsed = parse(self._bytes(row))
            # A restored ledger may have lost what the file has: there the version that it has is the one expected.
            revision = state.revision if self._is_restored else None
            found.append(Edit(state.id, Expected(state.digest, revision), parsed, fresh=not self._is_restored))
        for (row, _), outcome in zip(edits, self._session.accept_edits(found), strict=True):
            if outcome is None:
                lines.set_aside(row, self._bytes(row))
                continue
            if (after := living(outcome)) is None:
                lines.change(row, kind=Kind.STALE)
                continue
            owed = outcome.verdict not in (Verdict.EDITED, Verdict.SAME)
            mark = Mark.OWED if owed else Mark.NONE
            lines.change(row, kind=Kind.RECORD, mark=mark, revision=after.revision, order=Order(after.key))
            self._last_key = max(self._last_key, after.key)

    def _take_new(
        self, verdicts: Verdicts, rows: dict[str, list[Row]], ids: Sequence[str], now: dict[str, Changed]
    ) -> None:
        """Ids of which the ledger has no record: new ones, or lines that it removed."""
        reads: list[Read] = []
        for row in sorted((row for id in ids for row in rows[id]), key=lambda row: row.offset or 0):
            raw = self._bytes(row)
            line = Line(row.offset or 0, row.length, row.digest, raw)
            reads.append(Read(line, parse(raw), row.order.key))
            verdicts.lines.remove(row)
        found: list[Found] = []
        for one in reads:
            state = now.get(one.id or "")
            removed = state is not None and state.source is Source.SERVICE and not self._is_restored
            found.append(Found(one.parsed, unseen=removed))
        for one, outcome in zip(reads, self._session.take_in(found, How.REWRITTEN), strict=True):
            if outcome is not None:
                verdicts.taken(one, outcome)
            else:
                verdicts.malformed(one)
                self.malformed.add(one.line, one.line.raw)

    def _note_what_lacks(self) -> None:
        """Mark records of the ledger that are not in the file: they are put back."""
        after = 0
        while True:
            with self._session.ledger.view() as view:
                page = view.records(self._session.file, after, IDS_AT_ONCE)
            if not page:
                return
            after = page[-1].key
            lines = self._session.index.lines(self._session.file, [one.id for one in page])
            for one in page:
                if lines.record(one.id) is None and one.raw is not None:
                    lines.add(owed_record(self._session.file, one))
                    self._owed += 1
            self._session.index.save(lines)

    def _bytes(self, row: Row) -> bytes:
        raw = self._session.index.raw(row.key) if row.key > 0 else None
        return self._read_row(row) if raw is None else raw

    def _read_row(self, row: Row) -> bytes:
        if row.offset is None:
            raise FileChanged
        where = row.offset, row.length, row.digest
        return read_line(self._session.disk, self._descriptor, *where).raw or b""
