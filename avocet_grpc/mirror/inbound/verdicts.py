"""What the ledger decided about lines, as rows of the index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import msgspec
import structlog

from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import Changed, Edit, Expected, Found, How, Outcome, Verdict
from avocet_grpc.core.record import content_of, digest_of, is_our_spelling, parse
from avocet_grpc.mirror.fs.scan import Line
from avocet_grpc.mirror.inbound.rules import Mode
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Order, Row, effective, exportable, standing
from avocet_grpc.mirror.session import Session, is_fresh

log = structlog.get_logger(__name__)

ReadRow = Callable[[Row], bytes]
"""The bytes of a line that stands in the file. Raises FileChanged."""


class Read(msgspec.Struct, frozen=True, gc=False):
    """A line that was found, and what is in it. `offset` is None for a line of a displaced file.

    `after_key` is the order key of the record before it.
    """

    line: Line
    parsed: ParsedLine
    after_key: int

    @property
    def id(self) -> str | None:
        """The id of the record in it, None if it is malformed."""
        return self.parsed.columns.id if self.parsed.columns else None


@dataclass(slots=True)
class Verdicts:
    """Turns outcomes into rows.

    `mode` is that of the look: after a clean stop the order of lines is the others' too. `is_rewrite`: others wrote the
    whole file. `is_late`: the lines stand in a displaced file. `ours` are the offsets that the mirror itself wrote
    last. `owed` are the rows of malformed lines and duplicates that the mirror was to put back, by the digest of their
    bytes.

    `respelled` collects records whose line has the ledger's content in other bytes.
    """

    session: Session
    lines: Lines
    read: ReadRow
    mode: Mode = Mode.RUNNING
    is_rewrite: bool = False
    is_late: bool = False
    ours: range = range(0)
    owed: dict[bytes, deque[Row]] = field(default_factory=dict)
    last_key: int = 0
    accepted: int = 0
    undone: int = 0
    _respelled: list[tuple[str, Expected, ParsedLine]] = field(default_factory=list)

    @property
    def file(self) -> File:
        """The file."""
        return self.session.file

    def malformed(self, one: Read) -> None:
        """A malformed line: the index alone keeps it."""
        if self._is_put_back(one):
            return
        where = None if self.is_late else one.line.offset
        aside = one.line.digest if one.line.digest in self.session.aside else None
        # A late line stands behind all records of the file that it goes to.
        image = self.session.index.image(self.file) if self.is_late else None
        order = Order(image.last_key if image else one.after_key)
        row = Row(Kind.MALFORMED, None, aside, one.line.digest, where, one.line.length, order)
        self.lines.add(row.changed(mark=Mark.OWED) if self.is_late else row, one.line.raw)

    def taken(self, one: Read, outcome: Outcome) -> None:
        """A line that the index did not know."""
        id, now = one.id, living(outcome)
        assert id is not None
        record = self.lines.record(id)
        if outcome.verdict is Verdict.NEW:
            self._becomes_record(one, record, outcome.now, keeps_old=True)
            self.accepted += 1
        elif outcome.verdict is Verdict.REPLACED:
            self._steps_back(record)
            self._add_record(one, outcome.now)
            self.accepted += 1
        elif outcome.verdict is Verdict.SAME:
            self._same(one, record, now)
        elif outcome.verdict is Verdict.DUPLICATE:
            self._add_duplicate(one, now)
        elif not self.is_late:
            self._stale(one, record, now)

    def _is_put_back(self, one: Read) -> bool:
        """Note that a line that was owed stands now: the mirror wrote it and could not note that, or others did."""
        rows = self.owed.get(one.line.digest)
        if not rows:
            return False
        row = rows.popleft()
        if self.lines.get(row.key) is None:
            self.lines.include([row])
        self.lines.change(row, offset=one.line.offset, mark=Mark.NONE)
        return True

    def _same(self, one: Read, record: Row | None, now: Changed | None) -> None:
        if record is not None and record.stands and now is not None and record.content == now.digest:
            if self._is_put_back(one):
                return
            if self._has_our_bytes(one, record, now) and self._is_copy(one, record, now):
                self._add_stale(one)
            elif not self.is_late:
                self._add_duplicate(one, now)
            return
        if self.is_late and record is not None:
            if record.mark is Mark.MISSING:
                # A program that writes the whole file went on in the displaced one: it deleted nothing.
                self.lines.change(record, mark=Mark.OWED)
            return
        self._becomes_record(one, record, now, keeps_old=True)

    def _has_our_bytes(self, one: Read, record: Row, now: Changed) -> bool:
        """Return whether the line is the record's, or what it was before others spelled the record in another way."""
        if record.digest == one.line.digest:
            return True
        return now.source is Source.SERVICE and is_our_spelling(one.parsed)

    def _is_copy(self, one: Read, record: Row, now: Changed) -> bool:
        """Return whether a second line with our bytes of the record says nothing that others meant to say.

        A kill may leave one of ours, a program that read both writes both back, and one may write ours just before us,
        or bring it in the rest of a rewrite, after we have put it back.
        """
        if self.mode is Mode.CRASHED or one.line.offset in self.ours:
            return True
        if is_fresh(record.written_at, self.session.clock.now()):
            return True
        return self.is_rewrite and now.source is Source.SERVICE

    def _stale(self, one: Read, record: Row | None, now: Changed | None) -> None:
        self.undone += 1
        if now is None:
            # It may have been read again: the removal reaches the file now.
            self.session.index.note_removals(self.file, [one.id or ""], self.session.clock.now(), 0)
        if now is None or (record is not None and record.stands and record.content == now.digest):
            self._add_stale(one)
            return
        if record is not None:
            self._blank(record)
        content = _content(one.parsed)
        self._add_record(one, now, content=content, mark=Mark.OWED)

    def _becomes_record(self, one: Read, old: Row | None, now: Changed | None, *, keeps_old: bool) -> None:
        """The line counts from now on; the one that did is ours to blank, unless other programs wrote it."""
        if old is not None and keeps_old and self._is_to_keep(old, now):
            self._steps_back(old)
        elif old is not None:
            self._blank(old)
        self._add_record(one, now)

    def _is_to_keep(self, old: Row, now: Changed | None) -> bool:
        if not old.stands or old.mark is Mark.OWED or old.written_at is not None:
            return False
        if now is None or now.source is not Source.EXTERNAL or old.revision < now.removed_revision:
            return False
        return self.file is File.CANDIDATES or not old.is_exportable or _is_good(self.file, now)

    def _steps_back(self, old: Row | None) -> None:
        """The record becomes a duplicate."""
        if old is None:
            return
        if old.stands:
            self.lines.change(old, self.read(old), kind=Kind.DUPLICATE, mark=Mark.NONE, written_at=None)
        else:
            self.lines.remove(old)

    def _blank(self, old: Row) -> None:
        if old.stands:
            self.lines.change(old, kind=Kind.STALE, mark=Mark.NONE)
        else:
            self.lines.remove(old)

    def _add_record(
        self, one: Read, now: Changed | None, *, content: bytes | None = None, mark: Mark = Mark.NONE
    ) -> None:
        assert now is not None, "the ledger has a record that it took in"
        row = self._row(Kind.RECORD, one, content or now.digest, now.revision, Order(now.key))
        written_at = self._found_at(now) if mark is Mark.NONE and row.stands else None
        self.lines.add(row.changed(mark=row.mark if mark is Mark.NONE else mark, written_at=written_at))
        self.last_key = max(self.last_key, now.key)
        if mark is Mark.NONE and content is None and now.raw is not None and digest_of(now.raw) != one.line.digest:
            self._respelled.append((row.id or "", Expected(row.content, now.revision), one.parsed))

    def _found_at(self, now: Changed) -> float | None:
        """Count a version of the service that is found as written now: nobody may have read it before."""
        return self.session.clock.now() if now.source is Source.SERVICE else None

    def _add_duplicate(self, one: Read, now: Changed | None) -> None:
        if self._is_put_back(one):
            return
        revision = now.revision if now else 0
        row = self._row(Kind.DUPLICATE, one, _content(one.parsed), revision, Order(one.after_key))
        self.lines.add(row, one.line.raw)

    def _add_stale(self, one: Read) -> None:
        if not self.is_late:
            self.lines.add(self._row(Kind.STALE, one, None, 0, Order(one.after_key)))

    def _row(self, kind: Kind, one: Read, content: bytes | None, revision: int, order: Order) -> Row:
        offset = None if self.is_late else one.line.offset
        mark = Mark.OWED if self.is_late else Mark.NONE
        good = exportable(self.file, one.parsed)
        what = kind, one.id, content, one.line.digest, offset, one.line.length, order, revision
        return Row(*what, is_exportable=good, mark=mark)

    def leave_undecided(self, offsets: Collection[int]) -> None:
        """A later look decides whether the duplicates that stand there are edits."""
        for id in self.lines.ids() if offsets else ():
            for row in self.lines.of(id):
                if row.kind is Kind.DUPLICATE and row.offset in offsets:
                    self.lines.change(row, mark=Mark.UNDECIDED)

    def edited(self, old: Row, one: Read, outcome: Outcome) -> None:
        """Another content stands under a known id: `old` is the row, and no longer stands."""
        now, line = living(outcome), one.line
        if now is None:
            self.lines.remove(old)
            self._add_stale(one)
            self.undone += 1
            return
        good, content = exportable(self.file, one.parsed), _content(one.parsed)
        old = self.lines.change(old, offset=line.offset, length=line.length, digest=line.digest)
        old = self.lines.change(old, is_exportable=good, content=content, mark=Mark.NONE)
        if outcome.verdict in (Verdict.STALE, Verdict.OVERRULED):
            self.lines.change(old, mark=Mark.OWED)
            self.undone += 1
            return
        self.lines.change(old, revision=now.revision, written_at=self._found_at(now), order=Order(now.key))
        self.last_key = max(self.last_key, now.key)
        self.accepted += outcome.verdict is Verdict.EDITED
        if now.raw is not None and digest_of(now.raw) != line.digest:
            self._respelled.append((old.id or "", Expected(content, now.revision), one.parsed))

    def deleted(self, row: Row, outcome: Outcome) -> None:
        """A record disappeared."""
        if outcome.verdict is not Verdict.DELETED:
            self.lines.change(row, mark=Mark.OWED)
            self.undone += 1
            return
        self.accepted += 1
        self.lines.remove(row)
        for other in self.lines.of(row.id or ""):
            # It stands after the removal: it is not one of the lines that leave with it.
            self.lines.change(other, revision=max(other.revision, _revision(outcome)))

    def settle(self) -> None:
        """Let the ledger have the line that counts by the order in the file; what the service wrote counts anyway.

        Not after a clean stop: then the files are the truth, their order too.
        """
        promoted: list[tuple[Row, bytes]] = []
        wrong: list[tuple[Row, Row]] = []
        for id in sorted(self.lines.ids()):
            rows, record = standing(self.lines.of(id)), self.lines.record(id)
            if not rows or (record is not None and not record.stands):
                continue
            best = effective(self.file, rows)
            if record is None:
                promoted.append((best, self._bytes(best)))
            elif best.key != record.key and record.mark is not Mark.OWED:
                wrong.append((record, best))
        self._promote(promoted)
        self._reorder(wrong)
        self._respell()

    def _promote(self, promoted: list[tuple[Row, bytes]]) -> None:
        """A duplicate takes the place of a record that others deleted; what the service removed leaves with it."""
        states = self.session.changed([row.id or "" for row, _ in promoted])
        promoted = [one for one in promoted if _is_deleted_by_others(states.get(one[0].id or ""))]
        found = [Found(parse(raw)) for _, raw in promoted]
        for (row, raw), outcome in zip(promoted, self.session.take_in(found, How.APPENDED, trusted=True), strict=True):
            if outcome is None:
                self.lines.set_aside(row, raw)
                continue
            now = living(outcome)
            if now is None or outcome.verdict not in (Verdict.NEW, Verdict.SAME, Verdict.REPLACED):
                # The record was made again meanwhile, or removed: the feed says more.
                continue
            self.lines.change(row, kind=Kind.RECORD, revision=now.revision, order=Order(now.key), content=now.digest)
            self._spells(row, now, parse(raw))
            self.last_key = max(self.last_key, now.key)

    def _reorder(self, wrong: list[tuple[Row, Row]]) -> None:
        now = self.session.changed([record.id or "" for record, _ in wrong])
        edits: list[tuple[Row, Row, Edit]] = []
        for record, best in wrong:
            state = now.get(record.id or "")
            if state is None or not self._is_theirs(state) or state.digest != record.content:
                self.lines.change(record, mark=Mark.OWED)
                continue
            line = parse(self._bytes(best))
            edits.append((record, best, Edit(record.id or "", record.expected, line)))
        outcomes = self.session.accept_edits([edit for *_, edit in edits], trusted=True)
        for (record, best, edit), outcome in zip(edits, outcomes, strict=True):
            if outcome is None:
                self.lines.set_aside(best, self._bytes(best))
                continue
            if (state := living(outcome)) is None or outcome.verdict not in (Verdict.EDITED, Verdict.SAME):
                self.lines.change(record, mark=Mark.OWED)
                continue
            self._steps_back(record)
            self.lines.change(best, kind=Kind.RECORD, revision=state.revision, order=Order(state.key))
            self._spells(best, state, edit.line)
            self.last_key = max(self.last_key, state.key)
            self.accepted += 1

    def _is_theirs(self, state: Changed) -> bool:
        return self.mode is Mode.CLEAN or state.source is Source.EXTERNAL

    def _spells(self, row: Row, now: Changed, line: ParsedLine) -> None:
        """The record has this line from now on, so it is spelled in this way if it has to be put back."""
        if now.raw is not None and digest_of(now.raw) != row.digest:
            self._respelled.append((row.id or "", Expected(now.digest, now.revision), line))

    def _respell(self) -> None:
        lines, self._respelled = self._respelled, []
        for (id, _, _), outcome in zip(lines, self.session.respell(lines), strict=True):
            if outcome.verdict is Verdict.OVERRULED and (record := self.lines.record(id)) is not None:
                self.lines.change(record, mark=Mark.OWED)

    def _bytes(self, row: Row) -> bytes:
        raw = self.lines.raw.get(row.key)
        if raw is None and row.key > 0:
            raw = self.session.index.raw(row.key)
        return self.read(row) if raw is None else raw


def living(outcome: Outcome) -> Changed | None:
    """Return the record as it is now, None if there is none."""
    return outcome.now if outcome.now is not None and outcome.now.raw is not None else None


def _is_deleted_by_others(state: Changed | None) -> bool:
    return state is None or (state.raw is None and state.source is Source.EXTERNAL)


def _revision(outcome: Outcome) -> int:
    return outcome.now.revision if outcome.now is not None else 0


def _content(line: ParsedLine) -> bytes:
    return content_of(line)


def _is_good(file: File, now: Changed) -> bool:
    return now.raw is not None and exportable(file, parse(now.raw))
