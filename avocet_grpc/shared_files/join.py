"""Which lines of a file the ledger has already: both are read once, in order, and what pairs is forgotten at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from avocet_grpc.core.model import Sync
from avocet_grpc.core.ports.files import Move, Row
from avocet_grpc.core.record import digest_of
from avocet_grpc.shared_files.scan import Found

T = TypeVar("T")

CLEAN = int(Sync.CLEAN)
Numbered = tuple[int, Row]


class Join:
    """Pairs lines with the ledger's clean rows by their bytes, equal ones in their order.

    Memory grows with what is out of order or has no partner, not with the file. `moves` says which rows stand elsewhere
    than the ledger has them; `lines` and `line_bytes` (with newlines) count the file's, `rows` the ledger's.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        # Numbered before the others are left out, so that no stretch of moves runs over one of them.
        self._rows: Iterator[Numbered] = (numbered for numbered in enumerate(rows) if numbered[1][2] == CLEAN)
        self._open_rows: dict[bytes, deque[Numbered]] = {}
        self._open_lines: dict[bytes, deque[Found]] = {}
        self._last_moved = -1
        self.moves: list[Move] = []
        self.lines = self.line_bytes = self.rows = 0

    def take(self, offset: int, raw: bytes) -> None:
        """The next line of the file."""
        self.lines += 1
        self.line_bytes += len(raw) + 1
        digest = digest_of(raw)
        if (same := self._open_rows.get(digest)) is not None:
            self._pair(_next(self._open_rows, digest, same), offset)
            return
        numbered = self._next_row()
        if numbered is not None and numbered[1][1] == digest and digest not in self._open_lines:
            self._pair(numbered, offset)
            return
        self._open_lines.setdefault(digest, deque()).append(Found(offset, len(raw), digest))
        if numbered is not None:
            self._take_row(numbered)

    def finish(self) -> tuple[list[int], list[Found]]:
        """After the last line: the keys that are not in the file, and the lines that the ledger has not as they are."""
        while (numbered := self._next_row()) is not None:
            self._take_row(numbered)
        keys = sorted(row[0] for same in self._open_rows.values() for _, row in same)
        lines = sorted((one for same in self._open_lines.values() for one in same), key=lambda one: one.offset)
        return keys, lines

    def _next_row(self) -> Numbered | None:
        numbered = next(self._rows, None)
        self.rows += numbered is not None
        return numbered

    def _take_row(self, numbered: Numbered) -> None:
        digest = numbered[1][1]
        if (same := self._open_lines.get(digest)) is not None:
            self._pair(numbered, _next(self._open_lines, digest, same).offset)
        else:
            self._open_rows.setdefault(digest, deque()).append(numbered)

    def _pair(self, numbered: Numbered, offset: int) -> None:
        number, (key, _, _, before, _) = numbered
        by = offset - (before or 0)
        if by == 0:
            return
        if self.moves and number == self._last_moved + 1 and self.moves[-1][2] == by:
            self.moves[-1] = (self.moves[-1][0], key, by)
        else:
            self.moves.append((key, key, by))
        self._last_moved = number


def _next(table: dict[bytes, deque[T]], digest: bytes, same: deque[T]) -> T:
    one = same.popleft()
    if not same:
        del table[digest]
    return one
