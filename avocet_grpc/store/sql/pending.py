"""What works have changed and the database does not hold yet.

Works read what earlier works of their commit wrote from here. All rows of a table go in together at the end: each
statement lets go of the interpreter's lock and has to win it back, which under load costs more than the row itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from operator import itemgetter

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.ledger import Remembered
from avocet_grpc.store.sql.bodies import body_row, insert_examples
from avocet_grpc.store.sql.counts import CountsToAdd
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.rows import (
    NEVER,
    BodyRow,
    ExampleRow,
    HistoryRow,
    PastRow,
    RecordRow,
    RequestRow,
    Stored,
)

Place = tuple[int, str]
"""A file and an id."""

DECIDED = (
    "status", "failure_category", "facet", "reviewed_at", "queued", "exported", "unexportable", "revision", "made_by",
    "digest", "body",
)  # fmt: skip
"""The columns that a decision changes: the others' indexes are left alone."""
UPDATE_DECIDED = "ON CONFLICT (key) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in DECIDED)
UPDATE_ALL = "ON CONFLICT (key) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in RecordRow._fields if name != "key"
)
_undecided = itemgetter(*(at for at, name in enumerate(RecordRow._fields) if name not in DECIDED))
"""The other columns of a row."""
AT_ONCE = 64
"""Keys that one statement deletes."""
UPDATE_BODY = "ON CONFLICT (key) DO UPDATE SET size = excluded.size, raw = excluded.raw"
# What becomes known again keeps its later revision, until which it is kept.
UPDATE_PAST = "ON CONFLICT (id, file, digest) DO UPDATE SET revision = excluded.revision, made_by = excluded.made_by"
# The number itself, and no parameter, or the index of those that are shown is not used.
CLOSE = f"UPDATE examples SET removed_revision = :revision WHERE key = :key AND removed_revision = {NEVER}"


MOST_WAITING = 1_000
"""Changed records that may wait to be written."""
MOST_BYTES = 8_000_000
"""Bytes of lines and texts that may wait."""


class Pending:
    """Changes, by table. `stored` also has what was only read; `before` has the database's row of what changed."""

    def __init__(self) -> None:
        self.stored: dict[Place, Stored | None] = {}
        self.counts = CountsToAdd()
        self.without_claims: bool | None = None
        self._empty()

    def _empty(self) -> None:
        self._bytes = 0
        self.before: dict[Place, Stored | None] = {}
        self.examples: dict[tuple[int, int], ExampleRow] = {}
        self.closed: dict[tuple[int, int], int] = {}
        self.left: set[int] = set()
        self.past: dict[tuple[str, int, bytes], PastRow] = {}
        self.history: list[HistoryRow] = []
        self.requests: dict[tuple[str, str], tuple[Remembered, int]] = {}

    def change(self, place: Place, now: Stored) -> None:
        """The record of a place that was read before."""
        was = self.stored[place]
        if was is not None and was.row.queued and not (now.row.queued and now.row.key == was.row.key):
            self.left.add(was.row.key)
        self.before.setdefault(place, was)
        self.stored[place] = now
        self._bytes += len(now.raw or b"") + (len(was.raw or b"") if was is not None else 0)
        # At once: a later work has a copy of the row, and must know which line the database will have for it.
        self._share_line(place[1])

    def note(self, row: HistoryRow) -> None:
        """The next entry of the history."""
        self.history.append(row)
        self._bytes += len(row.change or "")

    def open_example(self, row: ExampleRow) -> None:
        """Exports see the example from its revision on."""
        self._bytes += len(row.encoded)
        self.examples[row.key, row.approved_revision] = row

    def close_example(self, row: RecordRow, revision: int) -> None:
        """Exports no longer see the example that `row` opened, from `revision` on."""
        self._close((row.key, row.revision), revision)

    def _close(self, example: tuple[int, int], revision: int) -> None:
        opened = self.examples.get(example)
        if opened is None:
            self.closed[example] = revision
        else:
            self.examples[example] = opened._replace(removed_revision=revision)

    def add_past(self, row: PastRow) -> None:
        """A content is known from now on as one that the record no longer has."""
        self.past[row.id, row.file, row.digest] = row

    def is_full(self) -> bool:
        """Return whether so much waits that it should be written now."""
        return len(self.before) >= MOST_WAITING or self._bytes > MOST_BYTES

    def take(self, later: Pending) -> None:
        """The changes of a work that follows these."""
        for place, was in later.before.items():
            self.before.setdefault(place, was)
        self.stored.update(later.stored)
        self._bytes += later._bytes
        self.examples.update(later.examples)
        for example, revision in later.closed.items():
            self._close(example, revision)
        self.left |= later.left
        self.past.update(later.past)
        self.history += later.history
        self.requests.update(later.requests)
        self.counts.take(later.counts)
        if later.without_claims is False:
            self.without_claims = False

    def flush(self, session: Session) -> None:
        """Write all changes. After many, forget what was read: the database has it."""
        if not self._has_changes():
            return
        forget = self.is_full()
        with session.batch():
            self._flush(session)
        if forget:
            self.stored.clear()

    def _has_changes(self) -> bool:
        records = self.before, self.left, self.examples, self.closed, self.counts
        return any(len(kind) for kind in (*records, self.past, self.history, self.requests))

    def _flush(self, session: Session) -> None:
        self._write_records(session)
        if not self.without_claims:
            _delete(session, "claims", self.left)
        for (key, _), revision in self.closed.items():
            session.execute(CLOSE, {"key": key, "revision": revision})
        visible = [row for row in self.examples.values() if row.removed_revision > row.approved_revision]
        insert_examples(session, visible)
        session.insert("past", list(self.past.values()), UPDATE_PAST)
        session.insert("history", self.history)
        requests = [
            RequestRow(principal, request_id, answer.digest, answer.answer, at)
            for (principal, request_id), (answer, at) in self.requests.items()
        ]
        session.insert("requests", requests)
        self.counts.write(session)
        self._empty()

    def _write_records(self, session: Session) -> None:
        new, decided, edited = list[RecordRow](), list[RecordRow](), list[RecordRow]()
        moved = list[int]()
        ids = {id for _, id in self.before}
        for place, was in self.before.items():
            now = self.stored[place]
            if now is None or now is was:
                continue
            if was is not None and was.row.key != now.row.key:
                moved.append(was.row.key)
                was = None
            rows = new if was is None else decided if _undecided(was.row) == _undecided(now.row) else edited
            rows.append(now.row)
        # First, since a record that moved has its id again.
        _delete(session, "records", moved)
        session.insert("records", new)
        session.insert("records", decided, UPDATE_DECIDED)
        session.insert("records", edited, UPDATE_ALL)
        self._write_lines(session, ids)

    def _share_line(self, id: str) -> None:
        """The approved record of the id has the candidate's line for its own as long as both are equal."""
        candidate, approved = self.stored.get((File.CANDIDATES, id)), self.stored.get((File.APPROVED, id))
        if approved is None or approved.raw is None:
            return
        owner = candidate if candidate is not None and candidate.raw == approved.raw else approved
        if approved.row.body != owner.row.key:
            self.before.setdefault((File.APPROVED, id), approved)
            self.stored[File.APPROVED, id] = approved._replace(row=approved.row._replace(body=owner.row.key))

    def _write_lines(self, session: Session, ids: Collection[str]) -> None:
        bodies = list[BodyRow]()
        for id in ids:
            places = [(int(file), id) for file in File]
            was = _lines(self.before.get(place, self.stored.get(place)) for place in places)
            now = _lines(self.stored.get(place) for place in places)
            bodies += [body_row(session, key, line) for key, line in now.items() if was.get(key) != line]
            for key in was.keys() - now.keys():
                session.execute("DELETE FROM bodies WHERE key = :key", {"key": key})
        session.insert("bodies", bodies, UPDATE_BODY)


def _delete(session: Session, table: str, keys: Collection[int]) -> None:
    each = [*keys]
    for start in range(0, len(each), AT_ONCE):
        where, values = among("key", each[start : start + AT_ONCE])
        session.execute(f"DELETE FROM {table} WHERE {where}", values)


def _lines(records: Iterable[Stored | None]) -> dict[int, bytes]:
    return {one.row.body: one.raw for one in records if one is not None and one.raw is not None}
