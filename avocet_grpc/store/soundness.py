"""Whether the ledger is what the service wrote: a quick look at each start, and a thorough one for `verify`."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from avocet_grpc.core.errors import StorageFull
from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import File, LineKind, Sync
from avocet_grpc.core.record import digest_of, load
from avocet_grpc.store.failure import meaning
from avocet_grpc.store.reader import COUNTED, LEFT_OUT_IF_UNKNOWN
from avocet_grpc.store.schema import NEVER
from avocet_grpc.store.seal import SealBroken, break_seal, is_sealed

SHOWN = 5


class LedgerUnusable(Exception):
    """The ledger cannot be used; the text says what is wrong and what to do."""


class LedgerDamaged(LedgerUnusable):
    """The ledger is not what the service wrote."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"the ledger is damaged: {problem}; nothing was changed. Restore it from a backup, or make it anew from the"
            f" shared files: avocet-grpc rebuild --data-dir {path.parent.parent}"
        )


def refuse_if_damaged(path: Path) -> bool:
    """Look at the files of a ledger before they are opened; gives whether a clean stop's seal vouched for them.

    Raises LedgerDamaged.
    """
    if not path.exists():
        if any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-seal")):
            raise LedgerDamaged(path, f"{path.name} is missing, and files that belong to it are there")
        return True
    if not is_sealed(path):
        return False
    try:
        break_seal(path)
    except SealBroken:
        raise LedgerDamaged(path, "it is not what the last clean stop left") from None
    return True


def refuse_if_inconsistent(path: Path, connection: sqlite3.Connection) -> None:
    """After a stop that was not clean: SQLite's own quick check, some seconds for 2 GB. Raises LedgerDamaged."""
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
    """All that is wrong with a ledger: its structure, each line's bytes, the counters and the examples. Reads all of
    it. Raises sqlite3.DatabaseError where it cannot be read."""
    checked = connection.execute(f"PRAGMA integrity_check({SHOWN})")
    structure = [line for (text,) in checked for line in text.splitlines() if line != "ok" and "***" not in line]
    yield from structure[:SHOWN]
    if not structure:
        yield from _wrong_bytes(connection)
        yield from _wrong_counts(connection)
        yield from _wrong_examples(connection)


def _wrong_bytes(connection: sqlite3.Connection) -> Iterator[str]:
    query = "SELECT l.key, l.id, l.digest, b.raw FROM lines l LEFT JOIN bodies b ON b.key = l.key"
    for key, id, digest, raw in connection.execute(query):
        if raw is None or digest_of(raw) != digest:
            yield f"the bytes of line {key} ({id}) are not those that were stored"


def _wrong_counts(connection: sqlite3.Connection) -> Iterator[str]:
    counted: Counter[tuple[str, str]] = Counter()
    columns = ", ".join(COUNTED.values())
    for kind, file, *values in connection.execute(
        f"SELECT kind, file, {columns} FROM lines WHERE sync <> {Sync.REMOVE}"
    ):
        if kind != LineKind.RECORD:
            counted["malformed" if kind == LineKind.MALFORMED else "duplicate", ""] += 1
        elif file == File.CANDIDATES:
            for name, value in zip(COUNTED, values, strict=True):
                if value is not None or name not in LEFT_OUT_IF_UNKNOWN:
                    counted[name, "unknown" if value is None else value] += 1
    queued, ready = (
        "SELECT count(*) FROM lines WHERE queued = 1",
        "SELECT count(*) FROM examples WHERE removed_revision = ?",
    )
    counted["queued", ""] = connection.execute(queued).fetchone()[0]
    counted["export_ready", ""] = connection.execute(ready, (NEVER,)).fetchone()[0]
    stored = {
        (name, value): n for name, value, n in connection.execute("SELECT name, value, n FROM counters WHERE n <> 0")
    }
    for name, value in sorted(stored.keys() | {known for known, n in counted.items() if n}):
        if stored.get((name, value), 0) != counted[name, value]:
            yield f"the counter {name} {value} says {stored.get((name, value), 0)}, there are {counted[name, value]}"


def _wrong_examples(connection: sqlite3.Connection) -> Iterator[str]:
    """Each exportable record of the approved file has one open example, and no other line has any."""
    open_keys = {key for (key,) in connection.execute("SELECT key FROM examples WHERE removed_revision = ?", (NEVER,))}
    query = (
        "SELECT l.key, l.id, b.raw FROM lines l JOIN bodies b ON b.key = l.key"
        f" WHERE l.file = {int(File.APPROVED)} AND l.kind = {int(LineKind.RECORD)} AND l.sync <> {int(Sync.REMOVE)}"
    )
    for key, id, raw in connection.execute(query):
        if is_exportable(load(raw)) != (key in open_keys):
            yield f"line {key} ({id}) is {'not ' if key not in open_keys else ''}exported"
        open_keys.discard(key)
    yield from (f"line {key} is exported and not there" for key in sorted(open_keys))
