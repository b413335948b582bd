"""Which lines of a file the index has already: both are read once, in order, and what pairs is forgotten at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from avocet_grpc.mirror.fs.scan import Line
from avocet_grpc.mirror.index import Place

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A line of the file that the index does not have as it is, without its bytes.

    `after_key` is the order key of the line before it that the index has. `number` is as in `Line`.
    """

    offset: int
    length: int
    digest: bytes
    number: int
    after_key: int


class LineDiff:
    """Pairs the lines of a file with the rows of the index by their bytes, equal ones in their order.

    Memory grows with what is out of order or has no partner, not with the file. `moved` is told of each row that stands
    elsewhere than noted. `lines` and `line_bytes` (with newlines) count the file's. `has_moved` is True if one did.
    `returned` are rows that did not stand in the file and now do. `known_to` is where the last line begins that has a
    row; `stood_to` is where the last of these rows stood before. Lines of rows with the keys `again` count as ones that
    the index does not have; `found_again` are those rows.
    """

    def __init__(
        self, rows: Iterator[Place], moved: Callable[[int, int], None], again: Collection[int] = frozenset()
    ) -> None:
        self._rows, self._moved, self._again = rows, moved, again
        self.found_again: list[int] = []
        self._lines_again: list[Unknown] = []
        self.lines = self.line_bytes = 0
        self.has_moved = False
        self.known_to = self.stood_to = 0
        self.returned: list[int] = []
        self._open_rows: dict[bytes, deque[Place]] = {}
        self._open_lines: dict[bytes, deque[Unknown]] = {}
        self._after = 0

    def take(self, line: Line) -> None:
        """Take the next line of the file."""
        self.lines += 1
        self.line_bytes += line.length + 1
        digest = line.digest
        if (same := self._open_rows.get(digest)) is not None:
            self._pair(_next(self._open_rows, digest, same), line)
            return
        row = next(self._rows, None)
        if row is not None and row.digest == digest and digest not in self._open_lines:
            self._pair(row, line)
            return
        unknown = Unknown(line.offset, line.length, digest, line.number, self._after)
        self._open_lines.setdefault(digest, deque()).append(unknown)
        if row is not None:
            self._take_row(row)

    def finish(self) -> tuple[list[Place], list[Unknown]]:
        """After the last line, return the rows that are not in the file, and the lines that the index does not have."""
        for row in self._rows:
            self._take_row(row)
        rows = [row for same in self._open_rows.values() for row in same]
        lines = [*self._lines_again, *(one for same in self._open_lines.values() for one in same)]
        return rows, sorted(lines, key=lambda one: one.offset)

    def _take_row(self, row: Place) -> None:
        if (same := self._open_lines.get(row.digest)) is not None:
            self._pair(row, _next(self._open_lines, row.digest, same))
        else:
            self._open_rows.setdefault(row.digest, deque()).append(row)

    def _pair(self, row: Place, line: Line | Unknown) -> None:
        offset, self._after = line.offset, row.order_key
        if row.key in self._again:
            self.found_again.append(row.key)
            self._lines_again.append(Unknown(offset, row.length, row.digest, line.number, row.order_key))
        self.known_to = max(self.known_to, offset)
        self.stood_to = max(self.stood_to, row.offset or 0)
        if row.offset == offset:
            return
        if row.offset is None:
            self.returned.append(row.key)
        self.has_moved = True
        self._moved(row.key, offset)


def _next(table: dict[bytes, deque[T]], digest: bytes, same: deque[T]) -> T:
    one = same.popleft()
    if not same:
        del table[digest]
    return one
