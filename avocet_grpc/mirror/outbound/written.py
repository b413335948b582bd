"""Noting in the index what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avocet_grpc.mirror.inbound.tail import reader_of
from avocet_grpc.mirror.inbound.verdicts import Verdicts
from avocet_grpc.mirror.lines import Kind, Row
from avocet_grpc.mirror.outbound.outbox import Unit
from avocet_grpc.mirror.outbound.patch import Blank
from avocet_grpc.mirror.session import FRESH_S, Session

FORGET_S = 60 * FRESH_S
"""Removals are forgotten after this time."""


def lines_of(units: Sequence[Unit]) -> list[bytes]:
    """Return the lines to write, in order."""
    return [write.raw for unit in units for write in unit.writes]


def blanks_of(units: Sequence[Unit]) -> list[Blank]:
    """Return the lines to blank."""
    rows = [row for unit in units for row in unit.blanks]
    return [Blank(row.offset, row.length, row.digest) for row in rows if row.offset is not None]


def last_key_of(units: Sequence[Unit]) -> int:
    """Return the highest order key of the rows."""
    keys = [write.row.order.key for unit in units for write in unit.writes]
    return max([*keys, *(row.order.key for unit in units for row in unit.keeps)], default=0)


def note_written(session: Session, path: Path, units: Sequence[Unit], offsets: Sequence[int]) -> None:
    """Store the rows as they are now; each written line stands at its offset. Call it inside a transaction."""
    index, file, now = session.index, session.file, session.clock.now()
    index.delete([row.key for unit in units for row in (*unit.blanks, *unit.drops)])
    rows: list[tuple[Row, bytes | None]] = [(row, None) for unit in units for row in unit.keeps]
    writes = [write for unit in units for write in unit.writes]
    for write, offset in zip(writes, offsets, strict=True):
        raw = write.raw if write.row.kind is not Kind.RECORD else None
        rows.append((write.row.changed(offset=offset), raw))
    index.put_all(file, rows)
    removed = [unit.id for unit in units if unit.is_removal and unit.from_feed and unit.id is not None]
    if removed:
        index.note_removals(file, removed, now, now - FORGET_S)
    if settling := [unit.id for unit in units if unit.settles and unit.id is not None]:
        lines = index.lines(file, settling)
        Verdicts(session, lines, reader_of(session, path)).settle()
        index.save(lines)
