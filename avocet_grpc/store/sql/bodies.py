"""The lines of records, a page's, shared ones and those of a large load; and encoded examples, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from avocet_grpc.core.model import PAGE_BYTES, Candidate, File
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.room import check_room
from avocet_grpc.store.sql.rows import BodyRow, ExampleRow, RecordRow

AT_ONCE = 250
"""Ids that one query asks for."""
MOST_BYTES = 8_000_000
"""Bytes of lines that wait in memory while others are read."""


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
        check_room(self.size)
        return session.lines.unpacked(self.size, self.raw)


class _Size(NamedTuple):
    key: int
    body: int
    size: int
    revision: int


def bodies_until_full(session: Session, keys: Sequence[int]) -> Mapping[int, Candidate]:
    """Return the candidates of the first of these keys, up to the one with which they have PAGE_BYTES; at least two."""
    if not keys:
        return {}
    # Asked by way of the records, each body is found by its key, whatever the statistics say.
    tables = f"FROM records r{session.dialect.scan} CROSS JOIN bodies b"
    where, values = among("r.key", keys)
    lengths = f"SELECT r.key, r.body, b.size, r.revision {tables} WHERE {where} AND b.key = r.body"
    found = {row.key: row for row in session.integers(_Size, lengths, values)}
    first = _first([found[key] for key in keys])
    check_room(sum(row.size for row in first))
    lines = session.stored_lines([row.body for row in first])
    bodies = (Body(row.key, row.size, line, row.revision) for row, line in zip(first, lines, strict=True))
    return {body.key: body.candidate(session) for body in bodies}


def _first(rows: Sequence[_Size]) -> Sequence[_Size]:
    total = 0
    for count, row in enumerate(rows, 1):
        total += row.size
        if total > PAGE_BYTES and count > 1:
            return rows[:count]
    return rows


class _Candidate(NamedTuple):
    id: str
    body: int
    digest: bytes | None


class _Stored(NamedTuple):
    key: int
    size: int
    raw: bytes


def body_row(session: Session, key: int, line: bytes) -> BodyRow:
    """Return the row that stores a line."""
    return BodyRow(key, len(line), session.lines.packed(line))


def insert_examples(session: Session, rows: Sequence[ExampleRow]) -> None:
    """Store these examples, packed as the engine packs them."""
    packed = session.lines.packed_example
    session.insert("examples", [ExampleRow(*row[:-1], packed(row.encoded)) for row in rows])


class LinesToStore:
    """Lines that are packed in a thread while the next ones are read, and stored then. One thread uses it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._lines: Sequence[tuple[int, bytes]] = ()
        self._packed: Future[list[bytes]] | None = None

    def begin(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """Store these lines, by their keys, with the next call; what was begun before is stored first."""
        self.store()
        self._lines = lines
        self._packed = self._thread.submit(self._session.lines.packer([line for _, line in lines]))
        if sum(len(line) for _, line in lines) > MOST_BYTES:
            self.store()

    def store(self) -> None:
        """Store what was begun. Raises what the packing or the storage raises."""
        if self._packed is None:
            return
        packed, self._packed = self._packed.result(), None
        rows = [BodyRow(key, len(line), raw) for (key, line), raw in zip(self._lines, packed, strict=True)]
        self._lines = ()
        self._session.insert("bodies", rows)


def stored_once(
    session: Session, new: Sequence[tuple[RecordRow, bytes]]
) -> tuple[Sequence[RecordRow], Sequence[tuple[int, bytes]]]:
    """Return the rows of new records, and which lines to store under which key.

    An approved record shares the line of its candidate if both are equal.
    """
    candidates = {row.id: (row.key, line) for row, line in new if row.file == File.CANDIDATES}
    candidates |= _candidates(session, {row.id: row.digest for row, _ in new if row.file == File.APPROVED})
    records, lines = list[RecordRow](), list[tuple[int, bytes]]()
    for row, line in new:
        key, other = candidates.get(row.id, (row.key, None))
        shares = row.file == File.APPROVED and line == other
        records.append(row._replace(body=key) if shares else row)
        if not shares:
            lines.append((row.key, line))
    return records, lines


def _candidates(session: Session, digests: Mapping[str, bytes | None]) -> dict[str, tuple[int, bytes]]:
    """Return where the lines of candidates are stored, and the lines, by id.

    `digests` are of the contents that are asked for: a candidate with another content has another line.
    """
    found, ids = dict[str, tuple[int, bytes]](), [*digests]
    for start in range(0, len(ids), AT_ONCE):
        where, values = among("id", ids[start : start + AT_ONCE])
        query = f"SELECT id, body, digest FROM records WHERE {where} AND file = 0"
        same = {one.body: one.id for one in session.all(_Candidate, query, values) if one.digest == digests[one.id]}
        where, values = among("key", same)
        for line in session.all(_Stored, f"SELECT key, size, raw FROM bodies WHERE {where}", values):
            found[same[line.key]] = line.key, session.lines.unpacked(line.size, line.raw)
    return found
