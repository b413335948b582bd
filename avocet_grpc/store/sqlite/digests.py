"""Digests that an earlier program stored, when 1 and 1.0 were two contents."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import structlog

from avocet_grpc.core.record import content_digest, is_content_digest, load
from avocet_grpc.store.sql import schema
from avocet_grpc.store.sql.queries import STORED, as_stored
from avocet_grpc.store.sql.rows import Stored
from avocet_grpc.store.sql.transaction import KNOWS_OLD_DIGESTS
from avocet_grpc.store.sqlite.session import SqliteSession

log = structlog.get_logger(__name__)

ROWS = 1_000
RECORDS = f"{STORED} WHERE r.key > ? AND r.lives = 1 ORDER BY r.key LIMIT {ROWS}"


def renew_digests(connection: sqlite3.Connection) -> None:
    """Give each record its digest by the present rule, once in a ledger's life. Raises sqlite3.Error.

    Past versions have a digest alone, so they stay known under the earlier one.
    """
    if connection.execute("SELECT 1 FROM meta WHERE name = ?", (schema.WHOLE_NUMBERS,)).fetchone():
        return
    log.info("numbers with and without a fraction become equal in the ledger")
    session, after = SqliteSession(connection), 0
    connection.execute("BEGIN IMMEDIATE")
    while found := connection.execute(RECORDS, (after,)).fetchall():
        stored = [as_stored(session, columns) for columns in found]
        connection.executemany("UPDATE records SET digest = ? WHERE key = ?", _renewed(stored))
        after = stored[-1].row.key
    for name in (KNOWS_OLD_DIGESTS, schema.WHOLE_NUMBERS):
        connection.execute("INSERT INTO meta (name, value) VALUES (?, 1) ON CONFLICT (name) DO NOTHING", (name,))
    connection.execute("COMMIT")


def _renewed(records: Iterable[Stored]) -> Iterator[tuple[bytes, int]]:
    """Yield digests and keys. A record that was stored for another content stays as it is, so that it shows."""
    for stored in records:
        record = load(stored.raw or b"")
        digest = content_digest(record)
        if digest != stored.row.digest and is_content_digest(stored.row.digest, record):
            yield digest, stored.row.key
