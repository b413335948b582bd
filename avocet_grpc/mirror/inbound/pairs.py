"""Which new line of a rewritten file is an edit of which record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from avocet_grpc.core.model import Source
from avocet_grpc.core.ports.mirror import ABSENT, Changed, Expected
from avocet_grpc.mirror.inbound.rules import Look
from avocet_grpc.mirror.inbound.verdicts import Read
from avocet_grpc.mirror.lines import Lines, Mark, Row, exportable


class Pairs:
    """Pairs records that disappeared with new lines of their ids.

    `gone` are the rows that disappeared and where they stood, by key; `missing` those that disappeared before.
    `stood_to` is where the last row stood that the file still has. `look` says whether a program may be half-way
    through the file.
    """

    def __init__(self, gone: Mapping[int, int], missing: Collection[int], stood_to: int, look: Look) -> None:
        self._gone, self._missing, self._stood_to, self._look = gone, missing, stood_to, look
        self.undecided: set[int] = set()
        """Where lines stand of which a later look decides whether they are edits."""

    def of(self, lines: Lines, batch: Sequence[Read]) -> list[tuple[Row, Read]]:
        """Return the records among `lines` that the batch edits, each with its line.

        If other lines of the id disappeared in front of the record, those are paired before it. If no new line is left
        for the record then, a program that is half-way through the file may still write its line: it is not edited.
        What the service wrote is not replaced either while such a program has the file open: the new line may be what
        another one appended.
        """
        found: dict[str, list[Read]] = {}
        for one in sorted(batch, key=lambda one: one.line.offset):
            if one.id is not None:
                found.setdefault(one.id, []).append(one)
        pairs: list[tuple[Row, Read]] = []
        for id, reads in found.items():
            record = lines.record(id)
            if record is None or not self._is_gone(record):
                continue
            if self._is_still_to_come(record) or self._is_undecided(lines, record):
                self.undecided.update(one.line.offset for one in reads)
                continue
            before = sum(self._is_gone(row) and self._stood_before(row, record) for row in lines.of(id))
            if before < len(reads) or not self._may_follow(record):
                pairs.append((record, self._edit_among(lines, record, reads[before:] or reads[-1:])))
        return pairs

    def _edit_among(self, lines: Lines, record: Row, reads: Sequence[Read]) -> Read:
        """Return the first line that counts as the record did: others may have appended one that does not."""
        good = (one for one in reads if exportable(lines.file, one.parsed))
        return next(good, reads[0]) if record.is_exportable else reads[0]

    def _is_gone(self, row: Row) -> bool:
        return row.key in self._gone or row.mark is Mark.MISSING

    def _is_still_to_come(self, record: Row) -> bool:
        """Return whether the record was missing before, and a program that may write it writes to a displaced file."""
        return self._look.goes_on_aside and record.key not in self._gone

    def _stood_before(self, row: Row, record: Row) -> bool:
        """Return whether the row stood in front of the record; by their order, if one has been missing for longer."""
        stood, records = self._gone.get(row.key), self._gone.get(record.key)
        if stood is None or records is None:
            return row.order < record.order
        return stood < records

    def _may_follow(self, record: Row) -> bool:
        """Return whether the program may not have come to the record yet."""
        return self._look.may_go_on and self._stood_to <= self._gone.get(record.key, self._stood_to)

    def _is_undecided(self, lines: Lines, record: Row) -> bool:
        """Return whether more is to follow than what the file has new lines for, perhaps with a record of ours."""
        if not self._look.is_open or record.written_at is None or not self._may_follow(record):
            return False
        return any(lines.get(key) is None for key in chain(self._gone, self._missing))


def without_deleted(
    lines: Lines, edits: list[tuple[Row, Read]], news: list[Read], now: Mapping[str, Changed]
) -> tuple[list[tuple[Row, Read]], list[Read]]:
    """Treat what others wrote of a record that others deleted as a new one."""
    kept: list[tuple[Row, Read]] = []
    for row, one in edits:
        state = now.get(row.id or "")
        if state is not None and state.raw is None and state.source is Source.EXTERNAL:
            lines.remove(row)
            news = [*news, one]
        else:
            kept.append((row, one))
    return kept, sorted(news, key=lambda one: one.line.offset)


def expected_by(one: Read, record: Row | None) -> Expected:
    """Return what a new line may take the place of: nothing if a record counts that stands behind it."""
    if record is None or record.offset is None:
        return ABSENT
    is_before = record.is_exportable and one.line.offset < record.offset
    return ABSENT if is_before else record.expected
