"""Reading a ledger of the version before this one, which also kept the lines of the files."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from avocet_grpc.core.model import File, Source
from avocet_grpc.core.ports.mirror import Changed
from avocet_grpc.core.record import content_of, digest_of, parse
from avocet_grpc.store.sqlite.inspect import Contents
from avocet_grpc.store.sqlite.session import BUSY_S

VERSION = 3
RECORD, REMOVED = 0, 3
WAITING = (
    "SELECT l.file, l.key, l.kind, l.id, l.sync, l.revision, l.digest, b.raw"
    " FROM lines l LEFT JOIN bodies b ON b.key = l.key WHERE l.sync <> 0 ORDER BY l.key"
)


@dataclass(frozen=True, slots=True)
class OldContents(Contents):
    """`other_lines` are lines of others, no records, that the ledger had saved and the files lack."""

    other_lines: dict[File, list[bytes]] = field(default_factory=dict)


def contents(path: Path) -> OldContents | None:
    """Return what can still be read of a ledger of version 3; None if it is not one, or cannot be read."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with (
        contextlib.suppress(sqlite3.DatabaseError, TypeError),
        closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)) as connection,
    ):
        if _number(connection, "SELECT value FROM meta WHERE name = 'schema_version'") == VERSION:
            return _contents(connection)
    return None


def _contents(connection: sqlite3.Connection) -> OldContents:
    pending: dict[File, list[Changed]] = {file: [] for file in File}
    others: dict[File, list[bytes]] = {file: [] for file in File}
    unreadable = 0
    for number, key, kind, id, sync, revision, digest, raw in connection.execute(WAITING):
        file = File(number)
        if sync == REMOVED:
            if id is not None:
                pending[file].append(Changed(id, key, revision, Source.SERVICE, None, None, revision))
        elif raw is None or digest_of(raw) != digest:
            unreadable += 1
        elif kind != RECORD or (line := parse(raw)).columns is None:
            others[file].append(raw)
        else:
            pending[file].append(Changed(id, key, revision, Source.SERVICE, raw, content_of(line)))
    return OldContents(
        revision=_number(connection, "SELECT value FROM meta WHERE name = 'revision'"),
        history=_number(connection, "SELECT count(*) FROM history"),
        request_ids=_number(connection, "SELECT count(*) FROM requests"),
        old_examples=_number(connection, f"SELECT count(*) FROM examples WHERE removed_revision <> {2**63 - 1}"),
        pending=pending,
        unreadable=unreadable,
        other_lines=others,
    )


def _number(connection: sqlite3.Connection, query: str) -> int:
    number: int = connection.execute(query).fetchone()[0]
    return number
