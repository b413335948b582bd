"""Looking at a ledger that a service may have open, or that nobody can open any more. Nothing is written to it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import START, Cursor
from avocet_grpc.core.record import content_of, digest_of, parse
from avocet_grpc.store.sql import schema
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.rows import NEVER
from avocet_grpc.store.sqlite.integrity import LedgerUnusable, damage
from avocet_grpc.store.sqlite.opening import version_of
from avocet_grpc.store.sqlite.session import SqliteSession

PAGE = 1_000
WITH_FILES = 3
"""The schema's version that also kept the lines of the files."""
OF_RECORDS, REMOVED = 0, 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """An acknowledged change that a file may lack: the line that the file shall hold, or None for a removed `id`.

    `is_record` is False for a line of others that only has to stand in the file.
    """

    file: File
    id: str
    raw: bytes | None
    is_record: bool = True


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ledger has that the shared files have not; None if it cannot be read.

    `old_examples` are those that only an export at an older revision still sees. `waiting` are acknowledged changes
    that the files may lack; `unreadable` counts those whose line is not what was stored.
    """

    revision: int | None
    history: int | None
    request_ids: int | None
    old_examples: int | None
    waiting: list[Waiting]
    unreadable: int | None


@contextlib.contextmanager
def opened(path: Path, versions: tuple[int, ...] = (schema.VERSION,)) -> Iterator[sqlite3.Connection]:
    """One consistent view of the ledger. Raises sqlite3.Error, LedgerUnusable."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN")
        version = version_of(connection)
        if version not in versions:
            raise LedgerUnusable(f"the ledger is of version {version}, and this program of version {schema.VERSION}")
        yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[SqlMirrorReader]:
    """The ledger's records, as the mirror reads them. Raises sqlite3.Error, LedgerUnusable."""
    with opened(path) as connection:
        yield SqlMirrorReader(SqliteSession(connection))


def problems(path: Path) -> list[str]:
    """All that is wrong with the ledger; reads all of it. Empty if it is sound. Raises LedgerUnusable."""
    try:
        with opened(path) as connection:
            return list(damage(connection))
    except sqlite3.DatabaseError as error:
        return [f"it cannot be read: {error}"]


def contents(path: Path) -> Contents:
    """What is still to be had of a ledger, damaged or not, of this version or the one with files."""
    waiting: list[Waiting] = []
    unreadable: int | None = None
    with contextlib.suppress(sqlite3.DatabaseError, LedgerUnusable), _any_version(path) as connection:
        unreadable = 0
        for one, is_sound in _waiting(connection):
            if is_sound:
                waiting.append(one)
            else:
                unreadable += 1
    revision = _number(path, "SELECT revision FROM head")
    return Contents(
        revision=_number(path, "SELECT value FROM meta WHERE name = 'revision'") if revision is None else revision,
        history=_number(path, "SELECT count(*) FROM history"),
        request_ids=_number(path, "SELECT count(*) FROM requests"),
        old_examples=_number(path, f"SELECT count(*) FROM examples WHERE removed_revision <> {NEVER}"),
        waiting=waiting,
        unreadable=unreadable,
    )


def _any_version(path: Path) -> contextlib.AbstractContextManager[sqlite3.Connection]:
    return opened(path, (schema.VERSION, WITH_FILES))


def _waiting(connection: sqlite3.Connection) -> Iterator[tuple[Waiting, bool]]:
    """Each change that a file may lack, and whether its line is sound."""
    if version_of(connection) == WITH_FILES:
        yield from _waiting_with_files(connection)
        return
    reader = SqlMirrorReader(SqliteSession(connection))
    for file in File:
        report = reader.report(file)
        after = report.level if report is not None else START
        while changes := reader.changes(file, after, PAGE):
            for one in changes:
                yield Waiting(file, one.id, one.raw), one.raw is None or _is_sound(one.raw, one.digest)
            after = Cursor(changes[-1].revision, changes[-1].key)


def _is_sound(raw: bytes, digest: bytes | None) -> bool:
    line = parse(raw)
    return line.columns is not None and content_of(line) == digest


def _waiting_with_files(connection: sqlite3.Connection) -> Iterator[tuple[Waiting, bool]]:
    query = (
        "SELECT l.file, l.kind, l.id, l.sync, l.digest, b.raw FROM lines l LEFT JOIN bodies b ON b.key = l.key"
        " WHERE l.sync <> 0 ORDER BY l.key"
    )
    for file, kind, id, sync, digest, raw in connection.execute(query):
        if sync == REMOVED:
            yield Waiting(File(file), id or "", None), True
        else:
            sound = raw is not None and digest_of(raw) == digest
            yield Waiting(File(file), id or "", raw, kind == OF_RECORDS), sound


def _number(path: Path, query: str) -> int | None:
    try:
        with _any_version(path) as connection:
            number: int = connection.execute(query).fetchone()[0]
            return number
    except (sqlite3.DatabaseError, LedgerUnusable, TypeError):
        return None
