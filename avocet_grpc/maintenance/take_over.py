"""Writes the two shared files from a ledger in a database into a directory, which is the ledger's own afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.durable import sync_directory
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.maintenance.keeping import Keeping
from avocet_grpc.maintenance.lock import DataDirectoryLock
from avocet_grpc.maintenance.private_directory import refuse_if_planted
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.mirror import Mirror
from avocet_grpc.store.postgres.engine import PostgresLedger

PATIENCE_S = 86_400.0
"""How long the files may take to become level; their size decides."""

Progress = Callable[[str, int, int], None]


class CannotTakeOver(Exception):
    """Another server keeps the files; the text names it."""


class FilesNotLevel(Exception):
    """The files were not finished; a server that keeps them goes on with them."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a take-over did. `aside` has what was in the directory before; None if there was nothing.

    `malformed` and `repeated` are lines that only the files before had: malformed ones, and further lines of an id.
    """

    aside: Path | None
    malformed: int
    repeated: int


def take_over(
    ledger: PostgresLedger, url: str, address: str, data_dir: Path, sets_aside: Callable[[Path], None]
) -> Taken:
    """Write both files from the ledger into `data_dir`, which is made if it is missing, and give the lease up again.

    From then on no other directory is taken for that of the ledger. A kill on the way leaves a directory that is
    refused, or one that a server finishes. `sets_aside` is told where what was in the directory goes, before it goes
    there: whatever fails then, its operator wants to find it. Raises CannotTakeOver, FilesNotLevel, DataDirectoryTaken,
    UnsafeDirectory, StorageUnreachable, OSError.
    """
    keeping = Keeping(ledger, url, address, secrets.token_hex(16), data_dir)
    try:
        # First, so that a refusal leaves no directory behind.
        _refuse_if_kept(keeping.state())
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = DataDirectoryLock(data_dir)
        try:
            refuse_if_planted(data_dir)
            lock.name("no address: it writes the files from the store")
            return _written(ledger, keeping, DataDirectory(data_dir), sets_aside)
        finally:
            lock.release()
    finally:
        keeping.close()


def _written(
    ledger: PostgresLedger, keeping: Keeping, directory: DataDirectory, sets_aside: Callable[[Path], None]
) -> Taken:
    with ledger.mirror().view() as view:
        reports = [report for file in File if (report := view.report(file)) is not None]
    aside = _set_aside(directory, sets_aside)
    if not keeping.take_over():
        raise CannotTakeOver("another server took the files at this moment")
    mirror = Mirror(keeping.ledger(), directory.root, keeping.disk(), Clock())
    mirror.adopt()
    if not mirror.stop(PATIENCE_S):
        raise FilesNotLevel
    return Taken(aside, sum(r.malformed for r in reports), sum(r.duplicate_ids for r in reports))


def _refuse_if_kept(state: KeeperState) -> None:
    if state.is_kept:
        raise CannotTakeOver(
            f"a server keeps the files in {state.place}; stop it, or run 'avocet-grpc keeper release', and wait until"
            f" nobody keeps them"
        )


def _set_aside(directory: DataDirectory, sets_aside: Callable[[Path], None]) -> Path | None:
    """Move what the directory had before into a directory of its own; its id goes first.

    A kill on the way leaves a directory without an id, which no server takes for that of the ledger.
    """
    private = [path for path in _entries(directory.private) if path not in (directory.owner, directory.reserve)]
    private.sort(key=lambda path: not path.name.startswith(directory.files_id.name))
    shared = [path for path in _entries(directory.root) if _is_shared(path.name)]
    if not private and not shared:
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = directory.root / f"before-take-over-{stamp}"
    into = DataDirectory(aside).private
    into.mkdir(mode=0o700, parents=True)
    sets_aside(aside)
    for path in private:
        path.rename(into / path.name)
        sync_directory(directory.private)
    for path in shared:
        path.rename(aside / path.name)
    for changed in (into, aside, directory.root):
        sync_directory(changed)
    return aside


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


def _is_shared(name: str) -> bool:
    """Return whether it is a shared file, or what a replacement of one left."""
    return any(name == shared or name.startswith(f".{shared}.") for shared in SHARED_FILES.values())
