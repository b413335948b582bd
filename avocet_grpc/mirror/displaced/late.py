"""Lines that other programs wrote to a displaced file: each goes to the ledger, and then into the file in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from avocet_grpc.core.model import Source
from avocet_grpc.core.ports.mirror import Changed, Cursor, Edit, Expected, How, Verdict
from avocet_grpc.core.record import content_of
from avocet_grpc.mirror.displaced.file import Displaced
from avocet_grpc.mirror.feed import LAST_KEY
from avocet_grpc.mirror.inbound.tail import ids_of, take_appended
from avocet_grpc.mirror.inbound.verdicts import Read
from avocet_grpc.mirror.lines import Lines, Mark
from avocet_grpc.mirror.session import Session, is_fresh


def take_late(
    session: Session, path: Path, old: Displaced, reads: Sequence[Read], mtime: float, *, in_front: bool = False
) -> None:
    """Take in lines that were appended. `path` is the file in its place. Call it inside a transaction of the index.

    `in_front` is that of `take_appended`.
    """
    now = session.changed(sorted(ids_of(reads)))
    undone = _unseen_removals(session, old, now, mtime)
    # What the ledger has yet, the service may remove before the verdict.
    unseen = undone | {id for id, state in now.items() if state.raw is not None}
    if old.may_be_rest:
        _take_undone(session, path, [one for one in reads if one.id in undone])
        reads = [one for one in reads if one.id not in undone]
    rows = _rows(session, reads)
    take_appended(session, path, reads, rows, how=How.LATE, is_late=True, unseen=unseen, in_front=in_front)


class Versions:
    """What the ledger knows of a whole file's lines.

    `last` is, by id, the offset of the last line whose content the ledger has, had, or overruled. `current` are the ids
    whose record stands there as it is now.
    """

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.current: set[str] = set()

    def note(self, session: Session, reads: Sequence[Read]) -> None:
        """Note what the ledger knows of these lines, which follow those noted before."""
        contents = [(one.id, content_of(one.parsed), one.line.offset) for one in reads if one.id is not None]
        known = session.knows([(id, content) for id, content, _ in contents])
        now = session.changed(sorted({id for id, *_ in contents}))
        for id, content, offset in contents:
            is_current = (state := now.get(id)) is not None and state.digest == content
            if is_current:
                self.current.add(id)
            if is_current or (id, content) in known:
                self.last[id] = offset

    def hide(self, one: Read, again: bool) -> bool:
        """Return whether the record counts more than this line of its id; `again`: another one stands in front of it.

        So it does if a version of it stands behind the line. A further line also counts less if its author has not
        read what the record is now.
        """
        return one.line.offset < self.last.get(one.id or "", -1) or (again and one.id not in self.current)


def take_whole(
    session: Session,
    path: Path,
    old: Displaced,
    reads: Sequence[Read],
    seen: set[str],
    versions: Versions,
    mtime: float,
) -> None:
    """Take in what is new in a file that is read as a whole: nothing is deleted by it. Call it inside a transaction.

    `seen` are the ids that stand before these lines in it; `versions` has noted the whole of it. A further line of an
    id is a late one; the first may be an edit of the record, unless a decision of ours came after the file was
    displaced. A line that `versions` hide is neither: it counts less than the record.
    """
    ids = sorted({one.id for one in reads if one.id is not None})
    lines, now = session.index.lines(session.file, ids), session.changed(ids)
    contents = [(one.id, content_of(one.parsed)) for one in reads if one.id is not None]
    known = session.knows(contents)
    _find_missing(session, lines, reads)
    late: list[Read] = []
    in_front: list[Read] = []
    undone: list[Read] = []
    unseen = _unseen_removals(session, old, now, mtime)
    edits: list[tuple[Read, Edit]] = []
    pairs = iter(contents)
    for one in reads:
        if one.id is None:
            if not session.index.has_malformed(session.file, one.line.digest):
                late.append(one)
            continue
        pair, again = next(pairs), one.id in seen
        seen.add(one.id)
        state, record = now.get(one.id), lines.record(one.id)
        if pair in known or not _is_news(lines, one, pair[1], state):
            continue
        if one.id in unseen:
            undone.append(one)
        elif state is not None and state.raw is not None and versions.hide(one, again):
            in_front.append(one)
        elif again or state is None or state.raw is None:
            late.append(one)
        else:
            fresh = record is not None and is_fresh(record.written_at, mtime)
            expected = Expected(state.digest, old.level_at)
            edits.append((one, Edit(one.id, expected, one.parsed, fresh)))
    late += _edit(session, lines, edits)
    _take_undone(session, path, undone)
    if in_front:
        take_late(session, path, old, in_front, mtime, in_front=True)
    take_late(session, path, old, late, mtime)


def _take_undone(session: Session, path: Path, reads: Sequence[Read]) -> None:
    """Overrule lines of a whole rewrite, or of the rest of one, whose records the service has removed meanwhile."""
    if reads:
        rows, ids = _rows(session, reads), ids_of(reads)
        take_appended(session, path, reads, rows, how=How.REWRITTEN, is_late=True, unseen=ids)


def _find_missing(session: Session, lines: Lines, reads: Sequence[Read]) -> None:
    """What is missing in the file and stands here was not deleted: who writes the whole file went on here."""
    digests = {one.line.digest for one in reads}
    records = ((lines.record(one.id), content_of(one.parsed)) for one in reads if one.id is not None)
    lost = [row for row, content in records if row is not None and row.mark is Mark.MISSING and row.content == content]
    others = session.index.absent_lines(session.file, Mark.MISSING, digests)
    lines.include(others)
    for row in (*lost, *others):
        lines.change(row, mark=Mark.OWED)


def _unseen_removals(session: Session, old: Displaced, now: Mapping[str, Changed], mtime: float) -> set[str]:
    return session.unseen_removals(now, Cursor(old.level_at, LAST_KEY), mtime)


def _rows(session: Session, reads: Sequence[Read]) -> Lines:
    return session.index.lines(session.file, ids_of(reads))


def _is_news(lines: Lines, one: Read, content: bytes, state: Changed | None) -> bool:
    """Return whether the ledger never had the line; what others deleted does not come back by an old file."""
    if any(row.digest == one.line.digest or row.content == content for row in lines.of(one.id or "")):
        return False
    if state is None:
        return True
    return state.digest != content if state.raw is not None else state.source is not Source.EXTERNAL


def _edit(session: Session, lines: Lines, edits: Sequence[tuple[Read, Edit]]) -> list[Read]:
    """Report edits; return the lines that were set aside, as malformed ones."""
    aside: list[Read] = []
    for (one, edit), outcome in zip(edits, session.accept_edits([edit for _, edit in edits]), strict=True):
        if outcome is None:
            aside.append(replace(one, parsed=session.aside.parsed(one.line)))
            continue
        record = lines.record(edit.id)
        if outcome.verdict is Verdict.EDITED and record is not None:
            # What stands in the file is the version before: the outbox writes the new one.
            lines.change(record, mark=Mark.OWED)
    session.index.save(lines)
    return aside
