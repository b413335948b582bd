"""Whether the ledger is what the service wrote: a quick look at each start, and a thorough one for `verify`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from avocet_grpc.core.errors import StorageFull
from avocet_grpc.store.sql.soundness import contradictions
from avocet_grpc.store.sqlite.failure import meaning
from avocet_grpc.store.sqlite.seal import SealBroken, break_seal, has_sound_seal, is_sealed
from avocet_grpc.store.sqlite.session import SqliteSession

SHOWN = 5


class LedgerUnusable(Exception):
    """The ledger cannot be used; the text says what is wrong and what to do."""


class LedgerDamaged(LedgerUnusable):
    """The ledger is not what the service wrote."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"the ledger is damaged: {problem}; nothing was changed. Restore it from a backup, or make it again from"
            f" the shared files: avocet-grpc rebuild --data-dir {path.parent.parent}"
        )


LOST = "{} is missing, and files that belong to it are there"
NOT_AS_LEFT = "it is not what the last clean stop left"


def has_remains(path: Path) -> bool:
    """Return whether there are files that belong to a ledger at this path."""
    return any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-seal"))


def refuse_if_damaged(path: Path) -> bool:
    """Look at the files of a ledger before they are opened. Returns whether a clean stop's seal vouched for them.

    Raises LedgerDamaged.
    """
    if not path.exists():
        if has_remains(path):
            raise LedgerDamaged(path, LOST.format(path.name))
        return True
    if not is_sealed(path):
        return False
    try:
        break_seal(path)
    except SealBroken:
        raise LedgerDamaged(path, NOT_AS_LEFT) from None
    return True


def refuse_if_not_as_left(path: Path) -> None:
    """Compare a ledger with the seal of the last clean stop, if it has one, and leave the seal there.

    A server may start or stop meanwhile: at the second look the seal is gone, or is another one. Raises LedgerDamaged,
    OSError.
    """
    if all(has_sound_seal(path) is False for _ in range(2)):
        raise LedgerDamaged(path, NOT_AS_LEFT)


def refuse_if_inconsistent(path: Path, connection: sqlite3.Connection) -> None:
    """After a stop that was not clean, and for a copy: SQLite's own quick check, some seconds for 2 GB.

    Raises LedgerDamaged.
    """
    problems = [text for (text,) in connection.execute(f"PRAGMA quick_check({SHOWN})") if text != "ok"]
    if problems:
        raise LedgerDamaged(path, problems[0].splitlines()[-1])


def unusable(path: Path | None, error: sqlite3.Error) -> Exception:
    """What it means that the ledger at `path` cannot be opened."""
    known = meaning(error, path)
    if isinstance(known, StorageFull) or path is None:
        return known or error
    return LedgerDamaged(path, str(error))


def damage(connection: sqlite3.Connection) -> Iterator[str]:
    """All that is wrong with a ledger: its structure, and what it holds. Reads all of it.

    Raises sqlite3.DatabaseError if it cannot be read.
    """
    checked = connection.execute(f"PRAGMA integrity_check({SHOWN})")
    structure = [line for (text,) in checked for line in text.splitlines() if line != "ok" and "***" not in line]
    yield from structure[:SHOWN]
    if not structure:
        yield from contradictions(SqliteSession(connection, lenient=True))
