"""The lines of a file as the index has them, and the one rule that says which line of an id counts."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import File, ParsedLine, Status
from avocet_grpc.core.ports.mirror import ABSENT, Changed, Expected
from avocet_grpc.core.record import digest_of, load, record_in


class Kind(enum.IntEnum):
    """What a line of a file is."""

    RECORD = 0
    """The line of its id that counts."""
    DUPLICATE = 1
    """A further line of an id."""
    MALFORMED = 2
    STALE = 3
    """A line that will be blanked: an older version, or a removed record."""


class Mark(enum.IntEnum):
    """What the file owes to a row."""

    NONE = 0
    OWED = 1
    """The ledger's version must be written, or the order of the id's lines put right."""
    MISSING = 2
    """It disappeared; whether it counts as deleted is not decided yet."""
    UNDECIDED = 3
    """It came while the record of its id is missing; whether it is an edit of that is not decided yet."""


class Order(NamedTuple):
    """Where a compaction puts a line: a record by its key; another line behind the record of `key`, by `number`."""

    key: int
    number: int = 0


class Row(msgspec.Struct, frozen=True, gc=False):
    """One line. `key` is its number in the index, 0 or less until it is stored.

    `content` is the digest of the record in it, `digest` that of its bytes. `offset` is None while it does not stand in
    the file. `revision` is the ledger's when the line was noted, or last found equal. `written_at` is the Unix time in
    seconds at which this version of ours reached the file; None if other programs wrote it.
    """

    kind: Kind
    id: str | None
    content: bytes | None
    digest: bytes
    offset: int | None
    length: int
    order: Order
    revision: int = 0
    written_at: float | None = None
    is_exportable: bool = False
    mark: Mark = Mark.NONE
    key: int = 0

    @property
    def stands(self) -> bool:
        """True if the line is in the file."""
        return self.offset is not None

    @property
    def expected(self) -> Expected:
        """What stands in the file by the index, for a command."""
        return Expected(self.content, self.revision) if self.stands else ABSENT

    def changed(self, **changes: Any) -> Row:
        """Return the row with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def effective(file: File, lines: Sequence[Row]) -> Row:
    """Return the line that counts among the standing lines of one id, which are given in file order.

    Candidates: the first. Approved: the last that can be exported, else the last. Stale lines must be left out.
    """
    if file is File.CANDIDATES:
        return lines[0]
    return ([line for line in lines if line.is_exportable] or lines)[-1]


def exportable(file: File, line: ParsedLine) -> bool:
    """Return whether a line of the approved file can be exported; False for the candidates file."""
    if file is File.CANDIDATES or line.columns is None or line.columns.status != Status.APPROVED:
        return False
    return is_exportable(record_in(line))


def owed_record(file: File, now: Changed) -> Row:
    """Return the row of a living record of the ledger that the file lacks."""
    if now.raw is None:
        raise ValueError("a tombstone has no line")
    good = file is File.APPROVED and is_exportable(load(now.raw))
    what = now.digest, digest_of(now.raw), None, len(now.raw)
    return Row(Kind.RECORD, now.id, *what, Order(now.key), now.revision, is_exportable=good, mark=Mark.OWED)


def standing(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that stand in the file and are not to be blanked, in file order."""
    found = [row for row in rows if row.offset is not None and row.kind is not Kind.STALE]
    return sorted(found, key=lambda row: row.offset or 0)


class Lines:
    """The rows of some ids, to be changed and then stored.

    `raw` holds the bytes of new duplicates and malformed lines.
    """

    def __init__(self, file: File, rows: Iterable[Row] = ()) -> None:
        self.file = file
        self._rows: dict[int, Row] = {}
        self._by_id: dict[str | None, set[int]] = {}
        self._next = 0
        self.changed: set[int] = set()
        self.removed: set[int] = set()
        self.raw: dict[int, bytes] = {}
        self.include(rows)

    def include(self, rows: Iterable[Row]) -> None:
        """Have these rows of the index too."""
        for row in rows:
            self._put(row)

    def of(self, id: str) -> list[Row]:
        """Return all rows of an id, in no order."""
        return [self._rows[key] for key in self._by_id.get(id, ())]

    def record(self, id: str) -> Row | None:
        """Return the row that counts for an id."""
        return next((row for row in self.of(id) if row.kind is Kind.RECORD), None)

    def get(self, key: int) -> Row | None:
        """Return a row by its key, None if it was removed."""
        return self._rows.get(key)

    def ids(self) -> set[str]:
        """Return all ids that have rows here."""
        return {id for id, keys in self._by_id.items() if id is not None and keys}

    def add(self, row: Row, raw: bytes | None = None) -> Row:
        """Add a row that the index does not have."""
        self._next -= 1
        row = row.changed(key=self._next)
        self._put(row)
        self.changed.add(row.key)
        if raw is not None:
            self.raw[row.key] = raw
        return row

    def change(self, row: Row, raw: bytes | None = None, **changes: Any) -> Row:
        """Change fields of a row; `raw` gives the bytes of one that becomes a duplicate."""
        row = self._rows[row.key].changed(**changes)
        self._rows[row.key] = row
        self.changed.add(row.key)
        if raw is not None:
            self.raw[row.key] = raw
        return row

    def remove(self, row: Row) -> None:
        """Remove a row."""
        del self._rows[row.key]
        self._by_id[row.id].discard(row.key)
        self.changed.discard(row.key)
        self.raw.pop(row.key, None)
        if row.key > 0:
            self.removed.add(row.key)

    def set_aside(self, row: Row, raw: bytes) -> None:
        """Count a line as malformed until the next start tries it again (`mirror.set_aside`)."""
        self.remove(row)
        self.add(row.changed(kind=Kind.MALFORMED, id=None, content=row.digest, mark=Mark.NONE, written_at=None), raw)

    def changes(self) -> list[Row]:
        """Return the rows to store."""
        return [self._rows[key] for key in sorted(self.changed, key=lambda key: (key < 0, abs(key)))]

    def _put(self, row: Row) -> None:
        self._rows[row.key] = row
        self._by_id.setdefault(row.id, set()).add(row.key)
