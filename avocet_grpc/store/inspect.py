"""Looking at a ledger that a server may have open, or that nobody can open any more."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.model import File, Sync
from avocet_grpc.core.ports.files import LedgerLine
from avocet_grpc.core.record import digest_of
from avocet_grpc.store.reader import SqlReader
from avocet_grpc.store.schema import NEVER, VERSION
from avocet_grpc.store.soundness import LedgerUnusable, damage

PENDING_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ledger has that the shared files have not; None where it cannot be read.

    `old_examples` are those that only an export at an older revision still sees. `pending` are acknowledged changes
    that the files lack, each with the bytes that the file shall hold; `unreadable` counts those without sound bytes.
    """

    revision: int | None
    history: int | None
    request_ids: int | None
    old_examples: int | None
    pending: list[tuple[LedgerLine, bytes]]
    unreadable: int | None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """One consistent view of the ledger; nothing is written to it. Raises sqlite3.Error, LedgerUnusable."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN")
        (version,) = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone() or (0,)
        if version != VERSION:
            raise LedgerUnusable(f"the ledger is of version {version}, and this program of version {VERSION}")
        yield connection
    finally:
        connection.close()


def problems(path: Path) -> list[str]:
    """All that is wrong with the ledger; reads all of it. Empty where it is sound. Raises LedgerUnusable."""
    try:
        with opened(path) as connection:
            return list(damage(connection))
    except sqlite3.DatabaseError as error:
        return [f"it cannot be read: {error}"]


def contents(path: Path) -> Contents:
    """What is still to be had of a ledger, damaged or not."""
    pending: list[tuple[LedgerLine, bytes]] = []
    unreadable: int | None = None
    with contextlib.suppress(sqlite3.DatabaseError, LedgerUnusable), opened(path) as connection:
        unreadable = 0
        for line, raw in _pending(SqlReader(connection)):
            if raw is None:
                unreadable += 1
            else:
                pending.append((line, raw))
    return Contents(
        revision=_number(path, "SELECT value FROM meta WHERE name = 'revision'"),
        history=_number(path, "SELECT count(*) FROM history"),
        request_ids=_number(path, "SELECT count(*) FROM requests"),
        old_examples=_number(path, f"SELECT count(*) FROM examples WHERE removed_revision <> {NEVER}"),
        pending=pending,
        unreadable=unreadable,
    )


def _pending(reader: SqlReader) -> Iterator[tuple[LedgerLine, bytes | None]]:
    for file in File:
        for line in reader.pending(file, PENDING_LIMIT):
            if line.sync is Sync.REMOVE:
                yield line, b""
                continue
            try:
                raw = reader.raw(line.key)
            except (sqlite3.DatabaseError, TypeError):
                yield line, None
            else:
                yield line, raw if digest_of(raw) == line.digest else None


def _number(path: Path, query: str) -> int | None:
    try:
        with opened(path) as connection:
            number: int = connection.execute(query).fetchone()[0]
            return number
    except (sqlite3.DatabaseError, LedgerUnusable, TypeError):
        return None
