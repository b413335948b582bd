"""Planning what must be written and blanked for each id, so that the order in the file says which line counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import File, Source
from avocet_grpc.core.ports.mirror import Changed
from avocet_grpc.core.record import digest_of, load
from avocet_grpc.mirror.feed import Feed
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Order, Row, effective, standing
from avocet_grpc.mirror.session import Session

RawOf = Callable[[Row], bytes]
"""The bytes of a duplicate."""

AT_ONCE = 5_000
MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Write:
    """A line to write: the row that it becomes, without a place yet, and its bytes."""

    row: Row
    raw: bytes


@dataclass(frozen=True, slots=True)
class Unit:
    """What one id needs, or one line without an id: it is written as a whole, or not yet.

    `blanks` are lines to overwrite with spaces; their rows go. `drops` are rows that go without a line, `keeps` rows
    that change without one. `replaces`: in place, a reader or a kill could see the wrong line count, so that another
    file must take the place of this one. `settles`: a duplicate will count, whatever the order. `is_removal`: the
    service removed the record.
    """

    id: str | None
    writes: tuple[Write, ...] = ()
    blanks: tuple[Row, ...] = ()
    drops: tuple[Row, ...] = ()
    keeps: tuple[Row, ...] = ()
    replaces: bool = False
    settles: bool = False
    is_removal: bool = False
    from_feed: bool = False

    @property
    def size(self) -> int:
        """How many bytes it writes."""
        return sum(len(write.raw) + 1 for write in self.writes)

    @property
    def is_empty(self) -> bool:
        """True if nothing has to be done."""
        return not (self.writes or self.blanks or self.drops or self.keeps or self.is_removal)

    @property
    def touches_file(self) -> bool:
        """True if it writes or blanks a line."""
        return bool(self.writes or self.blanks)


def collect(session: Session, feed: Feed) -> list[Unit]:
    """Return what one round writes: the oldest changes, and what rows owe, up to a number and a size.

    Raises FeedExpired.
    """
    file, index = session.file, session.index
    with session.ledger.view() as view:
        feed.poll(view)
        changes = {change.id: change for change in feed.changes()[:AT_ONCE]}
        owed = index.marked(file, Mark.OWED, AT_ONCE)
        stale = index.of_kind(file, Kind.STALE, AT_ONCE)
        # In the order of the index, which is that of the records if a whole file is written.
        found = dict.fromkeys(row.id for row in _short([*owed, *stale]) if row.id is not None)
        others = [id for id in found if id not in changes]
        ids = [*changes, *others]
        lines = index.lines(file, ids)
        # What the mirror itself reported may be newer than what it has read of the feed.
        newer = [id for id, one in changes.items() if any(row.revision > one.revision for row in lines.of(id))]
        states = view.changed(file, [*others, *newer]) if others or newer else {}
    now = session.clock.now()
    units = [
        plan(lines, id, states.get(id) or changes.get(id), lambda row: _raw(session, row), now, id in changes)
        for id in ids
    ]
    units += [_without_id(session, row) for row in (*owed, *stale) if row.id is None]
    return list(_bounded(units))


def _short(rows: Iterable[Row]) -> Iterable[Row]:
    """Give the first rows, up to the one whose line is one too many for a round."""
    size = 0
    for row in rows:
        yield row
        size += row.length
        if size > MAX_BYTES:
            return


def _bounded(units: Iterable[Unit]) -> Iterable[Unit]:
    size = 0
    for unit in units:
        size += unit.size
        if size > MAX_BYTES and size > unit.size:
            return
        yield unit


def _raw(session: Session, row: Row) -> bytes:
    raw = session.index.raw(row.key)
    assert raw is not None, "a duplicate that is too long is malformed"
    return raw


def _without_id(session: Session, row: Row) -> Unit:
    if row.kind is Kind.STALE:
        return Unit(None, blanks=(row,)) if row.stands else Unit(None, drops=(row,))
    if row.stands:
        return Unit(None, keeps=(row.changed(mark=Mark.NONE),))
    raw = session.index.raw(row.key)
    if raw is None:
        return Unit(None, drops=(row,))
    return Unit(None, writes=(Write(row.changed(mark=Mark.NONE), raw),))


class _Plan:
    """The plan for one id, as it is made."""

    def __init__(self, file: File, rows: Sequence[Row]) -> None:
        self._file = file
        self.stay = standing(rows)
        self.writes: list[Write] = []
        self.blanks = [row for row in rows if row.kind is Kind.STALE and row.stands]
        self.drops = [row for row in rows if row.kind is Kind.STALE and not row.stands]
        self.keeps: list[Row] = []
        self.replaces = False

    def leave(self, row: Row) -> None:
        """The line leaves the file."""
        if row.stands:
            self.blanks.append(row)
            self.stay = [one for one in self.stay if one.key != row.key]
        else:
            self.drops.append(row)

    def keep(self, row: Row, **changes: object) -> Row:
        """Return whether the row changes where it is."""
        after = row.changed(**changes)
        self.stay = [after if one.key == row.key else one for one in self.stay]
        if after != row:
            self.keeps.append(after)
        return after

    def write_again(self, row: Row, raw: bytes) -> None:
        """The line moves to the end; it may be spelled otherwise there."""
        self.leave(row)
        self.keeps = [one for one in self.keeps if one.key != row.key]
        again = row.changed(offset=None, mark=Mark.NONE, key=0, digest=digest_of(raw), length=len(raw))
        self.writes.append(Write(again, raw))
        self.replaces = True

    def add_owed(self, writes: Sequence[Write]) -> None:
        """Write duplicates too: behind the record in candidates, in front of it in the approved file."""
        self.writes = [*self.writes, *writes] if self._file is File.CANDIDATES else [*writes, *self.writes]

    def counting(self) -> Row | None:
        """Return the row that counts once all is written."""
        rows = [*self.stay, *(write.row for write in self.writes)]
        return effective(self._file, rows) if rows else None


def plan(lines: Lines, id: str, state: Changed | None, raw_of: RawOf, now: float, from_feed: bool) -> Unit:
    """Return what the file needs so that it says what the ledger has of this id.

    `state` is None if the ledger never had the id, or has forgotten that it was removed.
    """
    rows = sorted(lines.of(id), key=lambda row: (row.offset is None, row.offset or 0, row.key))
    made = _Plan(lines.file, rows)
    removed = state.removed_revision if state is not None else None
    record = lines.record(id)
    for row in rows:
        is_older = removed is None or row.revision < removed
        if row.kind is Kind.DUPLICATE and is_older:
            made.leave(row)
    others = [row for row in rows if row.kind is Kind.DUPLICATE]
    if state is None or state.raw is None or state.digest is None:
        if record is not None:
            made.leave(record)
        _write_owed(made, others, raw_of)
    else:
        _plan_record(made, lines.file, record, state, now)
        _write_owed(made, others, raw_of)
        _put_in_order(made, lines.file, state.raw, raw_of)
    is_removal = state is not None and state.raw is None and state.source is Source.SERVICE
    parts = tuple(made.writes), tuple(made.blanks), tuple(made.drops), tuple(made.keeps)
    counting = made.counting()
    settles = counting is not None and counting.kind is not Kind.RECORD and bool(made.writes)
    return Unit(id, *parts, replaces=made.replaces, settles=settles, is_removal=is_removal, from_feed=from_feed)


def _plan_record(made: _Plan, file: File, record: Row | None, state: Changed, now: float) -> None:
    assert state.raw is not None
    if record is not None and record.mark is Mark.MISSING and record.content == state.digest:
        # Whether it counts as deleted is decided first.
        return
    if record is not None and record.stands and record.content == state.digest:
        is_new = state.revision > record.revision and state.source is Source.SERVICE
        written_at = now if is_new else record.written_at
        made.keep(record, revision=state.revision, order=Order(state.key), mark=Mark.NONE, written_at=written_at)
        return
    if record is not None:
        made.leave(record)
    good = file is File.APPROVED and is_exportable(load(state.raw))
    what = state.id, state.digest, digest_of(state.raw), None, len(state.raw), Order(state.key), state.revision
    row = Row(Kind.RECORD, *what, written_at=now, is_exportable=good)
    made.writes.append(Write(row, state.raw))


def _write_owed(made: _Plan, others: Sequence[Row], raw_of: RawOf) -> None:
    """Write duplicates that are owed; without a record, one of them counts then."""
    left = {row.key for row in (*made.blanks, *made.drops)}
    owed = [row for row in others if row.mark is Mark.OWED and not row.stands and row.key not in left]
    writes = [Write(row.changed(mark=Mark.NONE), raw_of(row)) for row in owed]
    made.add_owed(writes)


def _put_in_order(made: _Plan, file: File, raw: bytes, raw_of: RawOf) -> None:
    """Put the lines of the id in order: what counts is what the ledger has, with the line `raw`."""
    counting = made.counting()
    if counting is None or counting.kind is Kind.RECORD:
        return
    record = next((row for row in made.stay if row.kind is Kind.RECORD), None)
    if file is File.APPROVED and record is not None and (record.is_exportable or not counting.is_exportable):
        made.write_again(record, raw)
    elif file is File.CANDIDATES and (record is not None or any(w.row.kind is Kind.RECORD for w in made.writes)):
        before = record.offset if record is not None else None
        for row in [one for one in made.stay if one.kind is Kind.DUPLICATE]:
            if before is None or (row.offset or 0) < before:
                made.write_again(row, raw_of(row))
