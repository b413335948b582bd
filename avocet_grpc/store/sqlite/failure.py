"""What an error of SQLite means: refused and nothing stored, failed and unknown, or a fault of one work alone."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from avocet_grpc.core.errors import CorrectionsError, Overloaded, StorageFailed, StorageFull
from avocet_grpc.durable import NO_ROOM

PRIMARY = 0xFF
PROBE_BYTES = 64 * 1024
FAILED = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
REFUSED_BEFORE_STORING = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR_GETTEMPPATH,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_WRITE,
    }
)
"""Failures that leave nothing of a transaction behind if the system refused a write: no room, or not permitted. A
failed sync is none of them: what it left on the disk is unknown, whatever room there is."""
NO_LEAVE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


class StorageRefused(StorageFailed):
    """The disk takes no writes (it is read-only): nothing was stored, reads go on."""


def kind_of(error: sqlite3.Error) -> int:
    """Return SQLite's code of the error without what extends it."""
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & PRIMARY


def meaning(error: sqlite3.Error, ledger: Path | None) -> CorrectionsError | None:
    """Return the error that callers get; None if the statement is at fault, and not the storage.

    StorageFull, Overloaded and StorageRefused: nothing was stored, and the ledger may go on. Any other StorageFailed:
    what was under way is unknown, and the ledger must not be touched again.
    """
    code, kind = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR), kind_of(error)
    if kind == sqlite3.SQLITE_FULL:
        return StorageFull("the disk is full")
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Overloaded("another program has locked the ledger")
    if kind not in FAILED:
        return None
    if ledger is not None and (code in REFUSED_BEFORE_STORING or kind == sqlite3.SQLITE_READONLY):
        return _refusal(ledger) or StorageFailed("the ledger failed")
    return StorageFailed("the ledger failed")


def may_go_on(error: Exception) -> bool:
    """Return whether the ledger may be used after this error."""
    return not isinstance(error, StorageFailed) or isinstance(error, StorageRefused)


def _refusal(ledger: Path) -> CorrectionsError | None:
    """Why the system takes no writes here; None where it takes them.

    Python's sqlite3 does not tell the system's error number, so the same is tried beside the ledger: some bytes at the
    offset that it and its journal have reached, which a limit on file sizes refuses too.
    """
    try:
        both = (ledger, ledger.with_name(f"{ledger.name}-wal"))
        offset = max((path.stat().st_size for path in both if path.exists()), default=0)
        with tempfile.TemporaryFile(dir=ledger.parent, buffering=0) as probe:
            written = os.pwrite(probe.fileno(), bytes(PROBE_BYTES), offset)
            if written < PROBE_BYTES:
                os.pwrite(probe.fileno(), bytes(PROBE_BYTES - written), offset + written)
    except OSError as error:
        if error.errno in NO_ROOM:
            return StorageFull("the disk is full")
        if error.errno in NO_LEAVE:
            return StorageRefused("the disk takes no writes")
        if error.errno in NO_DESCRIPTORS:
            return Overloaded("too many files are open")
    return None
