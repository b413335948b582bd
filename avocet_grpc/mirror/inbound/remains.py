"""Telling what a kill, a full disk or a power cut left of our lines from other programs' malformed lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from avocet_grpc.core.ports.mirror import Changed, Cursor, FeedExpired
from avocet_grpc.mirror.fs.scan import Line
from avocet_grpc.mirror.index import Place
from avocet_grpc.mirror.lines import Kind, Mark
from avocet_grpc.mirror.session import Session

PAGE = 1_000
PAGES = 100
BEGINNING = 8
"""As many bytes of a line are enough to know it again in its own place."""


def is_half_of_ours(session: Session, level: Cursor, rest: Line, is_given_up: bool) -> bool:
    """Return whether a last line without a newline is the beginning of one that we were writing.

    The kernel stops a long write of a process that is killed. Nothing is lost, since the ledger has our line whole. But
    before its id other programs may write the same, so the line is left to them until it `is_given_up`. What was taken
    for a malformed line before is one.
    """
    raw = rest.raw
    if raw is None or rest.parsed().columns is not None or session.index.has_malformed(session.file, rest.digest):
        return False
    for change in _unwritten(session, level):
        if change.raw is not None and change.raw.startswith(raw) and change.raw != raw:
            return is_given_up or json.dumps(change.id).encode() in raw
    return False


def _unwritten(session: Session, level: Cursor) -> Iterator[Changed]:
    """Give records of which the file may lack the present version."""
    with session.ledger.view() as view:
        after = level
        for _ in range(PAGES):
            try:
                page = view.changes(session.file, after, PAGE)
            except FeedExpired:
                break
            yield from page
            if not page:
                break
            after = Cursor(page[-1].revision, page[-1].key)
    owed = session.index.marked(session.file, Mark.OWED, PAGE * PAGES)
    ids = [row.id for row in owed if row.kind is Kind.RECORD and row.id is not None]
    for at in range(0, len(ids), PAGE):
        yield from session.changed(ids[at : at + PAGE]).values()


class Remains:
    """What a power cut may have left where lines that are `gone` now stood."""

    def __init__(self, session: Session, gone: Iterable[Place]) -> None:
        self._session = session
        stood = [(place.offset, place.length, place.key) for place in gone if place.offset is not None]
        self._starts = {offset: key for offset, _, key in stood}
        self._ends = {offset + length: key for offset, length, key in stood}

    def include(self, line: Line) -> bool:
        """Return whether the malformed line is the beginning of ours, or a block of the file that was never written."""
        if line.raw is None:
            return False
        first = self._bytes_of(self._starts.get(line.offset))
        last = self._bytes_of(self._ends.get(line.offset + line.length))
        # The index is synced before the file, which a power cut may then end inside a line that is noted already.
        return first.startswith(line.raw) or is_unwritten_block(line.raw, first, last) or self._is_half_blanked(line)

    def _is_half_blanked(self, line: Line) -> bool:
        """Return whether a line that we were blanking stands there, of which a kill left the end."""
        key = self._starts.get(line.offset)
        if key is None or key != self._ends.get(line.offset + line.length) or not (line.raw or b"").startswith(b" "):
            return False
        return any(row.kind in (Kind.RECORD, Kind.STALE) for row in self._session.index.each([key]))

    def _bytes_of(self, key: int | None) -> bytes:
        return noted_bytes(self._session, key)


def noted_bytes(session: Session, key: int | None) -> bytes:
    """Return the bytes of a line that stood in the file, empty if they are not known."""
    for row in session.index.each([key] if key is not None else []):
        if row.id is None or row.kind is not Kind.RECORD:
            return session.index.raw(row.key) or b""
        state = session.changed([row.id]).get(row.id)
        return state.raw or b"" if state is not None else b""
    return b""


def is_cut(raw: bytes, stood: bytes) -> bool:
    """Return whether a malformed line begins like the line that stood in its place.

    A program that dies while it writes the file leaves half a line, and the next one may append to it at once.
    """
    return len(stood) > BEGINNING and raw != stood and raw.startswith(stood[:BEGINNING])


def is_unwritten_block(raw: bytes, first: bytes, last: bytes) -> bool:
    """Return whether a malformed line is what a power cut left where lines of the ledger stood.

    A file may have grown on the disk by blocks that were never written: NULs, with the rest of the `first` line before
    and of the `last` line behind them.
    """
    head, _, rest = raw.partition(b"\0")
    tail = rest.lstrip(b"\0")
    if len(head) == len(raw) or b"\0" in tail:
        return False
    return first.startswith(head) and last.endswith(tail)
