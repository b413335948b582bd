"""The lines of records: those that a page has, read no further than a page holds, and those that two records share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avocet_grpc.core.model import PAGE_BYTES, Candidate, File
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.rows import BodyRow, RecordRow

AT_ONCE = 250
"""Ids that one query asks for."""


class Body(NamedTuple):
    """A record with its line as it is stored."""

    key: int
    size: int
    raw: bytes
    revision: int

    def candidate(self, session: Session) -> Candidate:
        """Return the record as the core knows it."""
        return Candidate(self.key, self.line(session), self.revision)

    def line(self, session: Session) -> bytes:
        """Return the line itself."""
        return session.lines.unpacked(self.size, self.raw)


class _Size(NamedTuple):
    key: int
    size: int


def bodies_until_full(session: Session, keys: Sequence[int]) -> Mapping[int, Candidate]:
    """Return the candidates of the first of these keys, up to the one with which they have PAGE_BYTES; at least two."""
    if not keys:
        return {}
    # Asked by way of the records, each body is found by its key, whatever the statistics say.
    tables = f"FROM records r{session.dialect.scan} CROSS JOIN bodies b"
    where, values = among("r.key", keys)
    lengths = f"SELECT r.key, b.size {tables} WHERE {where} AND b.key = r.body"
    sizes = {row.key: row.size for row in session.all(_Size, lengths, values)}
    where, values = among("r.key", _first(keys, sizes))
    lines = f"SELECT r.key, b.size, b.raw, r.revision {tables} WHERE {where} AND b.key = r.body"
    return {body.key: body.candidate(session) for body in session.all(Body, lines, values)}


def _first(keys: Sequence[int], sizes: Mapping[int, int]) -> Sequence[int]:
    total = 0
    for count, key in enumerate(keys, 1):
        total += sizes[key]
        if total > PAGE_BYTES and count > 1:
            return keys[:count]
    return keys


class _Line(NamedTuple):
    id: str
    key: int
    size: int
    raw: bytes


def body_row(session: Session, key: int, line: bytes) -> BodyRow:
    """Return the row that stores a line."""
    return BodyRow(key, len(line), session.lines.packed(line))


def stored_once(
    session: Session, new: Sequence[tuple[RecordRow, bytes]]
) -> tuple[Sequence[RecordRow], Sequence[BodyRow]]:
    """Return the rows of new records and of their lines; an approved record may share the line of its candidate."""
    candidates = {row.id: (row.key, line) for row, line in new if row.file == File.CANDIDATES}
    candidates |= _candidates(session, [row.id for row, _ in new if row.file == File.APPROVED])
    records, bodies = list[RecordRow](), list[BodyRow]()
    for row, line in new:
        key, other = candidates.get(row.id, (row.key, None))
        shares = row.file == File.APPROVED and line == other
        records.append(row._replace(body=key) if shares else row)
        if not shares:
            bodies.append(body_row(session, row.key, line))
    return records, bodies


def _candidates(session: Session, ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return the keys and lines of those candidates that the ledger has, by id."""
    found = dict[str, tuple[int, bytes]]()
    for start in range(0, len(ids), AT_ONCE):
        where, values = among("r.id", ids[start : start + AT_ONCE])
        query = (
            "SELECT r.id, r.key, b.size, b.raw FROM records r JOIN bodies b ON b.key = r.body"
            f" WHERE {where} AND r.file = 0"
        )
        rows = session.each(_Line, query, values)
        found |= {row.id: (row.key, session.lines.unpacked(row.size, row.raw)) for row in rows}
    return found
