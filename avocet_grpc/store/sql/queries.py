"""What the core reads of single records, the history and the ledger itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, NamedTuple

from avocet_grpc.core.model import Candidate, File, Source
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry, Remembered
from avocet_grpc.store.sql.bodies import Body
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.filters import among
from avocet_grpc.store.sql.room import check_room
from avocet_grpc.store.sql.rows import NEVER, HeadRow, RecordRow, Stored, selected

ANY_PRINCIPAL = "*"
"""Whose request_ids those of ledgers before version 4 are; no token can have this name."""

BEGAN = "began"
"""The row of `meta` that has the first revision of the ledger's first life."""
LOST_AFTER = "lost_after_"
"""How the rows of `meta` begin that have the first revision of a later life; the name ends with the last one before."""

AT_ONCE = 32
"""Ids that one query asks for."""

HEAD = f"SELECT {selected(HeadRow)} FROM head"
STORED = f"SELECT {selected(RecordRow, 'r.')}, b.size, b.raw FROM records r LEFT JOIN bodies b ON b.key = r.body"
STORED_SMALL = (
    f"SELECT {selected(RecordRow, 'r.')}, b.size, CASE WHEN b.size <= :longest THEN b.raw END"
    " FROM records r LEFT JOIN bodies b ON b.key = r.body"
)
LONGEST_LINE = 64 * 1024
"""Bytes of a line that is read ahead."""
MOST_BYTES = 8_000_000
"""Of lines that are read ahead."""
NOTED = "SELECT number, revision, file, id, action, actor, at, status_before, status_after, change, made_by"
REMEMBERED = (
    "SELECT digest, answer FROM requests WHERE request_id = :request_id AND principal IN (:principal, :any)"
    " ORDER BY principal DESC LIMIT 1"
)


SAME_PROMPT = (
    "(SELECT count(*) FROM (SELECT 1 FROM records WHERE file = 0 AND prompt_digest IS NOT NULL"
    " AND prompt_digest = :prompt_{0} LIMIT :most) found_{0})"
)


class Noted(NamedTuple):
    """A row of the history with its number."""

    number: int
    revision: int
    file: int
    id: str
    action: str
    actor: str
    at: str
    status_before: str | None
    status_after: str | None
    change: str | None
    made_by: int


class _Number(NamedTuple):
    value: int


class _Meta(NamedTuple):
    name: str
    value: int


class _Numbered(NamedTuple):
    number: int
    revision: int


class _Answer(NamedTuple):
    digest: bytes
    answer: str


class Queries:
    """The queries of one session: a part of `core.ports.ledger.Reader`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def head(self) -> HeadRow:
        """Where the ledger stands."""
        head = self._session.one(HeadRow, HEAD)
        if head is None:
            raise LookupError("the ledger has no head")
        return head

    def candidate(self, id: str) -> Candidate | None:
        """The record of this id in the candidates file."""
        query = (
            "SELECT r.key, b.size, b.raw, r.revision FROM records r JOIN bodies b ON b.key = r.body"
            " WHERE r.id = :id AND r.file = 0"
        )
        row = self._session.one(Body, query, {"id": id})
        return row.candidate(self._session) if row else None

    def stored(self, id: str) -> list[Stored]:
        """The records of this id in both files, tombstones too."""
        return [
            as_stored(self._session, row) for row in self._session.all(tuple, f"{STORED} WHERE r.id = :id", {"id": id})
        ]

    def stored_small(self, ids: Collection[str]) -> dict[tuple[int, str], Stored | None]:
        """The records of these ids by file and id; None if there is neither a record nor a tombstone.

        Records with long lines are left out, and so are the last ids if the lines become many bytes.
        """
        found: dict[tuple[int, str], Stored | None] = {}
        asked, size = list(ids), 0
        for start in range(0, len(asked), AT_ONCE):
            if size > MOST_BYTES:
                break
            part = asked[start : start + AT_ONCE]
            found |= {(int(file), id): None for id in part for file in File}
            where, values = among("r.id", part)
            query = f"{STORED_SMALL} WHERE {where}"
            for row in self._session.all(tuple, query, values | {"longest": LONGEST_LINE}):
                stored = as_stored(self._session, row)
                place = stored.row.file, stored.row.id
                if stored.row.lives and stored.raw is None:
                    del found[place]
                else:
                    found[place] = stored
                    size += len(stored.raw or b"")
        return found

    def same_prompt(self, digests: Collection[bytes], most: int) -> dict[bytes, int]:
        """Return how many candidates have each of these prompts, at most `most`."""
        asked, counts = list(set(digests)), dict[bytes, int]()
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            values = {f"prompt_{number}": digest for number, digest in enumerate(part)}
            row = self._session.one(tuple, _same_prompt(len(part)), values | {"most": most})
            counts.update(zip(part, row or (), strict=True))
        return counts

    def meta(self, name: str) -> int | None:
        """A number that the ledger keeps of itself; None if it was never set."""
        row = self._session.one(_Number, "SELECT value FROM meta WHERE name = :name", {"name": name})
        return row.value if row else None

    def set_meta(self, name: str, value: int) -> None:
        """Keep a number."""
        self._session.insert("meta", [_Meta(name, value)], "ON CONFLICT (name) DO UPDATE SET value = excluded.value")

    def note_beginning(self, revision: int, after: int | None = None) -> None:
        """Note the first revision of an incarnation; `after` is the last one known of the incarnation before."""
        self.set_meta(BEGAN if after is None else f"{LOST_AFTER}{after}", revision)

    def is_own_revision(self, revision: int) -> bool:
        """See `core.ports.ledger.Reader`."""
        for name, first in self._session.all(_Meta, "SELECT name, value FROM meta"):
            if name.startswith(LOST_AFTER) and int(name.removeprefix(LOST_AFTER)) < revision < first:
                return False
            if name == BEGAN and revision < first:
                return False
        return True

    def history(self, id: str) -> list[HistoryEntry]:
        """All changes of this id, newest first."""
        rows = self._session.all(Noted, f"{NOTED} FROM history WHERE id = :id ORDER BY number DESC", {"id": id})
        return [entry_of(row) for row in rows]

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        """The newest change of this id that is wanted; one is read at a time."""
        table = f"history{self._session.dialect.by_index.format('history_by_id')}"
        query = f"{NOTED} FROM {table} WHERE id = :id AND number < :number ORDER BY number DESC LIMIT 1"
        number = NEVER
        while (row := self._session.one(Noted, query, {"id": id, "number": number})) is not None:
            check_room(len(row.change or ""))
            if wanted(entry := entry_of(row)):
                return entry
            number = row.number
        return None

    def history_after(self, after: HistoryCursor, limit: int) -> list[HistoryEntry]:
        """Changes of all records, oldest first."""
        number = after.number or self.last_number(after.revision)
        query = f"{NOTED} FROM history WHERE number > :number ORDER BY number LIMIT :limit"
        return [entry_of(row) for row in self._session.all(Noted, query, {"number": number, "limit": limit})]

    def last_number(self, revision: int) -> int:
        """The number of the last entry up to this revision: both grow together, so no index is needed for it."""
        low, high = 0, self._session.number("SELECT coalesce(max(number), 0) FROM history")
        while low < high:
            middle = (low + high + 1) // 2
            query = "SELECT number, revision FROM history WHERE number >= :number ORDER BY number LIMIT 1"
            row = self._session.one(_Numbered, query, {"number": middle})
            if row is not None and row.revision <= revision:
                low = row.number
            else:
                high = middle - 1
        return low

    def remembered(self, principal: str, request_id: str) -> Remembered | None:
        """What a request_id was answered."""
        values = {"principal": principal, "request_id": request_id, "any": ANY_PRINCIPAL}
        row = self._session.one(_Answer, REMEMBERED, values)
        if row is None:
            return None
        check_room(len(row.answer))
        return Remembered(*row)


@lru_cache(maxsize=AT_ONCE)
def _same_prompt(prompts: int) -> str:
    """One statement and one row for all: each step lets go of the interpreter's lock and has to win it back."""
    return f"SELECT {', '.join(SAME_PROMPT.format(number) for number in range(prompts))}"


def as_stored(session: Session, row: tuple[Any, ...]) -> Stored:
    """A row of STORED."""
    *columns, size, raw = row
    if raw is None:
        return Stored(RecordRow._make(columns), None)
    check_room(size)
    return Stored(RecordRow._make(columns), session.lines.unpacked(size, raw))


def entry_of(row: Noted) -> HistoryEntry:
    """The entry that a row of the history holds."""
    return HistoryEntry(
        revision=row.revision,
        file=File(row.file),
        id=row.id,
        action=row.action,
        actor=row.actor,
        at=row.at,
        status_after=row.status_after,
        change=row.change,
        status_before=row.status_before,
        source=Source(row.made_by),
        number=row.number,
    )
