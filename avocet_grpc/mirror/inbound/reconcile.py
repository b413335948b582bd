"""Comparing a rewritten file with the index, by content and id.

The index says what stood in the file, the file what stands there now, and the ledger decides about each difference.
Everything happens in one transaction of the index; what the ledger has decided already is found again by a repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from msgspec.structs import replace

from avocet_grpc.core.model import Source
from avocet_grpc.core.ports.mirror import Changed, Edit, Expected, Found, How, Verdict
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner, Seen, read_line
from avocet_grpc.mirror.fs.signature import Signature, is_or_grew, signature, signature_of
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.inbound.line_diff import LineDiff, Unknown
from avocet_grpc.mirror.inbound.pairs import Pairs, expected_by, without_deleted
from avocet_grpc.mirror.inbound.problems import MalformedLines, log_malformed
from avocet_grpc.mirror.inbound.remains import Remains, is_cut, is_half_of_ours, noted_bytes
from avocet_grpc.mirror.inbound.rules import Look, Mode, is_damage
from avocet_grpc.mirror.inbound.tail import BATCH_BYTES, BATCH_LINES
from avocet_grpc.mirror.inbound.verdicts import Read, Verdicts
from avocet_grpc.mirror.index import Moves, Place
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Order, Row
from avocet_grpc.mirror.session import Session, is_fresh
from avocet_grpc.telemetry import failpoints

log = structlog.get_logger(__name__)

ALL = 2**31

Progress = Callable[[int], None]
"""Told how many bytes were read."""


def reconcile(session: Session, path: Path, image: FileImage, look: Look, progress: Progress) -> FileImage:
    """Compare the whole file; return the image after it.

    Raises FileChanged if the file changed meanwhile other than by growth, OSError, or an error of the ledger; nothing
    is noted then.
    """
    with session.disk.reading(path) as descriptor, session.index.transaction():
        found = signature_of(session.disk, descriptor) if descriptor >= 0 else None
        comparison = Reconciliation(session, path, image, look, descriptor, found)
        image = comparison.run(progress)
        session.index.save_image(session.file, image)
    failpoints.hit("import.after")
    log_malformed(session.file, comparison.malformed, 0)
    comparison.report()
    return image


class Reconciliation:
    """One comparison of one file: `reconcile` runs it in a transaction of the index."""

    def __init__(
        self, session: Session, path: Path, image: FileImage, look: Look, descriptor: int, found: Signature | None
    ) -> None:
        self._session, self._path, self._image, self._look = session, path, image, look
        self._descriptor, self._found = descriptor, found
        self._size = found.size if found else 0
        # The file's own time may be that of an append long after the change.
        self._mtime = min(found.mtime if found else session.clock.now(), look.as_noted_at)
        self._gone: dict[int, int] = {}  # by key, where the line stood
        self._torn = self._half_of_ours = False
        self._missing_before: list[int] = []
        self._last_key = self._known_to = self._stood_to = 0
        self._accepted = self._undone = self._put_back = self._missing = 0
        self._edited = self._news = 0
        self._damaged = False
        self._remains: Remains | None = None
        self.malformed = MalformedLines(session.aside.reason)

    def run(self, progress: Progress) -> FileImage:
        """Compare, ask the ledger, and change the rows. Raises what `reconcile` raises."""
        image = self._image
        before = self._look.seen, image.read_to, image.end
        if self._look.may_delete and not is_or_grew(self._session.disk, self._path, self._found, *before):
            # A program has just begun to write the file. What it has not written yet is not deleted.
            raise FileChanged
        index, file = self._session.index, self._session.file
        seen, moves = Seen(), index.begin_moves()
        total = index.records(file)
        diff, scanner = self._read(seen, moves, progress)
        grew = self._has_grown()
        failpoints.hit("import.before")
        gone, unknown = diff.finish()
        index.delete(diff.found_again)
        self._known_to, self._stood_to = diff.known_to, diff.stood_to
        places = self._note_places(diff, moves, gone)
        self._missing_before = [row.key for row in index.marked(file, Mark.MISSING, ALL)]
        for batch in self._batches(unknown):
            self._take_in(batch)
        left = [row for row in gone if row.key in self._gone and row.offset is not None]
        self._decide(left, diff, total, as_it_was=not (diff.has_moved or self._edited or self._news))
        if diff.has_moved or places:
            self._settle_duplicates()
        return self._image.compared(
            self._found,
            seen.blocks,
            seen.end,
            scanner.newlines,
            max(0, self._size - diff.line_bytes),
            self._last_key,
            grew=grew,
            has_missing=self._missing > 0,
            put_back=self._put_back > 0,
        )

    def report(self) -> None:
        """Say what came of it."""
        self._session.observer.reconciled(self._accepted, self._undone + self._put_back)
        log.log(
            30 if self._damaged else 20,
            "file damaged, putting back what is missing" if self._damaged else "file compared",
            file=SHARED_FILES[self._session.file],
            accepted=self._accepted,
            undone=self._undone,
            put_back=self._put_back,
            missing=self._missing,
        )

    def _read(self, seen: Seen, moves: Moves, progress: Progress) -> tuple[LineDiff, LineScanner]:
        session = self._session
        # Lines that an earlier run set aside are tried again; one that is gone is malformed, as it was.
        again = {row.key for row in session.index.set_aside(session.file) if row.digest not in session.aside}
        again |= {row.key for row in session.index.marked(session.file, Mark.UNDECIDED, ALL)}
        diff = LineDiff(session.index.places(session.file), moves.add, again)
        scanner = LineScanner(session.disk, self._descriptor, 0, self._size, seen.feed)
        for number, line in enumerate(scanner):
            diff.take(line)
            if number % 4096 == 0:
                progress(line.offset)
        if (rest := scanner.rest) is not None:
            self._take_torn_end(diff, rest)
        return diff, scanner

    def _take_torn_end(self, diff: LineDiff, rest: Line) -> None:
        look, level = self._look, self._image.level
        given_up = look.torn_is_given_up and not look.is_held
        if look.half_may_be_ours and is_half_of_ours(self._session, level, rest, given_up):
            self._torn = self._half_of_ours = True
        elif self._session.aside.parsed(rest).columns is None and not self._session.index.has_malformed(
            self._session.file, rest.digest
        ):
            self._torn = look.mode is not Mode.CLEAN
            if self._torn and not look.torn_is_given_up:
                raise FileChanged
        diff.take(rest)

    def _has_grown(self) -> bool:
        now = signature(self._session.disk, self._path)
        if now == self._found:
            return False
        if now is None or self._found is None or not now.has_grown_from(self._found):
            raise FileChanged
        return True

    def _note_places(self, diff: LineDiff, moves: Moves, gone: list[Place]) -> dict[int, int]:
        """Tell the index where the lines stand now; rows that came back no longer miss anything.

        Return the places of records that stand where another line did.
        """
        index, file = self._session.index, self._session.file
        moves.apply()
        self._gone = {place.key: place.offset for place in gone if place.offset is not None}
        index.lose(self._gone)
        places = self._take_places(gone)
        if self._look.mode is Mode.CRASHED:
            self._remains = Remains(self._session, [place for place in gone if place.key in self._gone])
        returned = [*diff.returned, *places]
        lines, now = Lines(file, index.each(returned)), self._session.clock.now()
        for key in returned:
            row = lines.get(key)
            if row is None:
                continue
            is_record = row.kind is Kind.RECORD
            mark = Mark.OWED if is_record and row.mark is Mark.OWED else Mark.NONE
            # A version of ours that is found counts as written now, and what was owed was written by us.
            is_ours = row.written_at is not None or row.mark is Mark.OWED
            offset = places.get(key, row.offset)
            lines.change(row, offset=offset, mark=mark, written_at=now if is_ours else None)
        index.save(lines)
        return places

    def _take_places(self, gone: list[Place]) -> dict[int, int]:
        """Let records that are gone stand where another line with their very bytes does: that one is gone instead."""
        index = self._session.index
        first = {same.record: same for same in reversed(index.same_bytes(self._session.file))}
        at = {place.key: number for number, place in enumerate(gone)}
        for record, same in first.items():
            if record in self._gone:
                self._gone[same.key] = self._gone.pop(record)
                gone[at[record]] = gone[at[record]]._replace(key=same.key)
                index.lose([same.key])
            else:
                index.delete([same.key])
        return {record: same.offset for record, same in first.items()}

    def _batches(self, unknown: list[Unknown]) -> Iterator[list[Read]]:
        """Give the lines that the index does not have, read, a batch at a time."""
        batch: list[Read] = []
        size = 0
        for one in unknown:
            line = read_line(self._session.disk, self._descriptor, one.offset, one.length, one.digest)
            line = replace(line, number=one.number)
            batch.append(Read(line, self._session.aside.parsed(line), one.after_key))
            size += one.length
            if size > BATCH_BYTES or len(batch) >= BATCH_LINES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _take_in(self, batch: list[Read]) -> None:
        """Decide about lines that the index does not have: edits of records that are gone, and new lines."""
        index, file = self._session.index, self._session.file
        lines = index.lines(file, {one.id for one in batch if one.id is not None})
        verdicts = Verdicts(self._session, lines, self._read_row, mode=self._look.mode, is_rewrite=True)
        pairs = Pairs(self._gone, self._missing_before, self._stood_to, self._look)
        edits = pairs.of(lines, batch)
        paired = {one.line.offset for _, one in edits}
        news = [one for one in sorted(batch, key=lambda one: one.line.offset) if one.line.offset not in paired]
        for record, _ in edits:
            self._gone.pop(record.key, None)
        now = self._session.changed([*{row.id or "" for row, _ in edits}, *{one.id or "" for one in news if one.id}])
        edits, news = without_deleted(lines, edits, news, now)
        self._accept_edits(verdicts, edits)
        self._take_new(verdicts, news, now)
        verdicts.leave_undecided(pairs.undecided)
        verdicts.settle()
        index.save(lines)
        self._count(verdicts)

    def _accept_edits(self, verdicts: Verdicts, pairs: list[tuple[Row, Read]]) -> None:
        crashed, trusted = self._look.mode is Mode.CRASHED, self._look.mode is Mode.CLEAN
        edits = [
            Edit(
                row.id or "",
                Expected(row.content, row.revision),
                one.parsed,
                fresh=crashed or (not trusted and is_fresh(row.written_at, self._mtime)),
            )
            for row, one in pairs
        ]
        lines, outcomes = verdicts.lines, self._session.accept_edits(edits, trusted=trusted)
        for (row, one), outcome in zip(pairs, outcomes, strict=True):
            if outcome is None:
                lines.change(row, mark=Mark.OWED)
                self._note_malformed(verdicts, one)
            else:
                verdicts.edited(row, one, outcome)
        # A cut right behind the JSON of the last line takes only blanks from it: nobody edited that record.
        same = [outcome is not None and outcome.verdict is Verdict.SAME for outcome in outcomes]
        self._edited += sum(not (alike and self._is_last(one)) for alike, (_, one) in zip(same, pairs, strict=True))

    def _take_new(self, verdicts: Verdicts, news: list[Read], now: dict[str, Changed]) -> None:
        lines = verdicts.lines
        with_id = [one for one in news if one.id is not None]
        found: list[Found] = []
        # What the ledger has yet, the service may remove before the verdict: then nobody can know that either.
        # After a crash, who wrote the file last need not be who rewrote it.
        mtime = 0.0 if self._look.mode is Mode.CRASHED else self._mtime
        unseen = self._session.unseen_removals(now, self._image.level, mtime)
        unseen |= {id for id, state in now.items() if state.raw is not None}
        for one in with_id:
            id = one.id or ""
            found.append(Found(one.parsed, expected_by(one, lines.record(id)), id in unseen))
        outcomes = iter(self._session.take_in(found, How.REWRITTEN, trusted=self._look.mode is Mode.CLEAN))
        for one in news:
            outcome = None if one.id is None else next(outcomes)
            if outcome is not None:
                verdicts.taken(one, outcome)
            elif one.id is None and self._is_remains(one):
                lines.add(Row(Kind.STALE, None, None, one.line.digest, one.line.offset, one.line.length, Order(0)))
            else:
                self._note_malformed(verdicts, one)
                self._torn = self._torn or self._is_cut(one) or (one.line.raw is not None and self._is_last(one))
        self._news += len(news)

    def _note_malformed(self, verdicts: Verdicts, one: Read) -> None:
        verdicts.malformed(one)
        self.malformed.add(one.line, one.line.raw)

    def _is_remains(self, one: Read) -> bool:
        """Return whether a malformed line is what a kill or a power cut left of ours."""
        if self._half_of_ours and one.line.offset + one.line.length >= self._size:
            return True
        return self._remains is not None and self._remains.include(one.line)

    def _is_cut(self, one: Read) -> bool:
        """Return whether the file was cut in this line: nothing that the index has stands behind it."""
        if one.line.raw is None or one.line.offset < self._known_to:
            return False
        key = next((key for key, stood in self._gone.items() if stood == one.line.offset), None)
        return is_cut(one.line.raw, noted_bytes(self._session, key))

    def _is_last(self, one: Read) -> bool:
        """Return whether the line has no newline behind it."""
        return one.line.offset + one.line.length >= self._size

    def _decide(self, gone: list[Place], diff: LineDiff, total: int, *, as_it_was: bool) -> None:
        """Decide about rows that are not in the file."""
        index, file = self._session.index, self._session.file
        keys = [place.key for place in gone]
        todo = sorted({*keys, *(row.key for row in index.marked(file, Mark.MISSING, ALL))})
        lost = sum(row.kind is Kind.RECORD and row.mark is not Mark.OWED for row in index.each(todo))
        at_the_end = all(place.offset is not None and place.offset + place.length > self._size for place in gone)
        cut = self._torn or (as_it_was and at_the_end)
        self._damaged = bool(keys) and self._look.may_be_damage and is_damage(lost, diff.lines, total, cut=cut)
        for at in range(0, len(todo), BATCH_LINES):
            self._decide_some(list(index.each(todo[at : at + BATCH_LINES])))

    def _decide_some(self, rows: list[Row]) -> None:
        index, file = self._session.index, self._session.file
        ids = sorted({row.id for row in rows if row.id is not None})
        lines = index.lines(file, ids)
        lines.include(row for row in rows if row.id is None)
        now, accepted = self._session.changed(ids), list[Row]()
        for row in rows:
            state = now.get(row.id) if row.id is not None else None
            is_gone = state is None or state.raw is None
            # An earlier look reported that, and could not note it. It found no duplicate, or that would be the record.
            is_reported = state is not None and is_gone and state.source is Source.EXTERNAL
            if is_reported and row.kind is Kind.RECORD:
                accepted.append(row)
            elif is_reported or row.kind is Kind.STALE or (is_gone and row.kind is Kind.RECORD):
                lines.remove(row)
            elif row.kind is Kind.RECORD and row.mark is Mark.OWED:
                self._put_back += 1
            else:
                self._decide_one(lines, row, accepted)
        gone = [(row.id or "", Expected(row.content, row.revision)) for row in accepted]
        verdicts = Verdicts(self._session, lines, self._read_row, mode=self._look.mode)
        for row, outcome in zip(accepted, self._session.accept_deletions(gone), strict=True):
            verdicts.deleted(row, outcome)
        verdicts.settle()
        index.save(lines)
        self._count(verdicts)

    def _settle_duplicates(self) -> None:
        """Lines that moved may count otherwise among the lines of their id."""
        index, file, after = self._session.index, self._session.file, ""
        while ids := index.ids_with_duplicates(file, after, BATCH_LINES):
            after, lines = ids[-1], index.lines(file, ids)
            verdicts = Verdicts(self._session, lines, self._read_row, mode=self._look.mode)
            verdicts.settle()
            index.save(lines)
            self._count(verdicts)

    def _decide_one(self, lines: Lines, row: Row, accepted: list[Row]) -> None:
        mark = self._fate(row)
        if mark is Mark.MISSING:
            lines.change(row, mark=mark)
            self._missing += 1
        elif mark is Mark.OWED and (row.kind is Kind.RECORD or self._session.index.raw(row.key) is not None):
            lines.change(row, mark=mark)
            self._put_back += 1
        elif row.kind is Kind.RECORD:
            accepted.append(row)
        else:
            lines.remove(row)

    def _fate(self, row: Row) -> Mark:
        """Return NONE if the line counts as deleted, OWED if it is put back, MISSING if that is not decided yet."""
        look = self._look
        if (look.mode is Mode.CLEAN and not look.is_held) or self._goes_on(row):
            return Mark.NONE
        if self._damaged or look.mode is Mode.CRASHED or is_fresh(row.written_at, self._mtime):
            return Mark.OWED
        if not look.settled:
            return Mark.MISSING
        return Mark.OWED if look.is_held else Mark.NONE

    def _goes_on(self, row: Row) -> bool:
        """Return whether a malformed line is now the beginning of a longer one: its writer has ended it."""
        stood = self._gone.get(row.key)
        if row.kind is not Kind.MALFORMED or stood is None or self._found is None:
            return False
        raw = self._session.index.raw(row.key)
        return bool(raw) and self._session.disk.read(self._descriptor, row.length, stood) == raw

    def _read_row(self, row: Row) -> bytes:
        if row.offset is None:
            raise FileChanged
        line = read_line(self._session.disk, self._descriptor, row.offset, row.length, row.digest)
        return line.raw or b""

    def _count(self, verdicts: Verdicts) -> None:
        self._last_key = max(self._last_key, verdicts.last_key)
        self._accepted += verdicts.accepted
        self._undone += verdicts.undone
