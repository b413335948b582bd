"""Making the ledger anew from the two shared files, where it is damaged or not to be believed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from avocet_grpc.core.model import File, LineKind, Sync
from avocet_grpc.core.ports.files import LedgerLine, Store, Transaction
from avocet_grpc.core.record import parse
from avocet_grpc.durable import sync_directory
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.layout import LEDGER, SHARED_FILES, DataDirectory
from avocet_grpc.maintenance.lock import DataDirectoryLock
from avocet_grpc.shared_files.intake import Intake
from avocet_grpc.store import inspect
from avocet_grpc.store.files_store import SqliteStore
from avocet_grpc.store.inspect import Contents

SUFFIXES = ("", "-wal", "-shm", "-seal")


class Rebuild:
    """One rebuild of the ledger below `data_dir`: `losses` tells what it costs, `run` does it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._private = DataDirectory(data_dir).private
        self._ledger = self._private / LEDGER
        self._old: Contents = inspect.contents(self._ledger)

    def has_ledger(self) -> bool:
        """Whether there is anything to make anew."""
        return any(self._ledger.with_name(LEDGER + suffix).exists() for suffix in SUFFIXES)

    def losses(self) -> Iterator[str]:
        """What cannot come back, line by line, and what is carried over."""
        old = self._old
        yield f"{_count(old.history)} entries of the history: an undo then puts a record back in review by default"
        yield f"{_count(old.request_ids)} request ids: a write that is tried again under one of them is made twice"
        yield f"{_count(old.old_examples)} examples of older revisions: resume tokens and revisions so far expire"
        if old.unreadable is None:
            yield "an unknown number of acknowledged changes that had not reached the files"
        elif old.unreadable:
            yield f"{old.unreadable} acknowledged changes that had not reached the files and cannot be read"

    def carried_over(self) -> int:
        """How many acknowledged changes the files lack and the new ledger takes from the old one."""
        return len(self._old.pending)

    def run(self) -> tuple[int, Path]:
        """Make the new ledger and set the old one aside. Gives the records of the new one, and where the old one is.

        A kill on the way leaves the old ledger, or the files alone, from which the next start makes one. Raises
        OSError, or what the store raises.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        building, aside = self._private / f"rebuild-{stamp}", self._private / f"ledger-{stamp}.db"
        building.mkdir(mode=0o700, parents=True)
        try:
            revision = (self._old.revision or 0) + 1
            with _opened(building / LEDGER, revision) as store:
                with store.loading():
                    for file, name in SHARED_FILES.items():
                        Intake(store, file, Path(os.path.realpath(self._data_dir / name))).adopt(None)
                store.write(self._carry_over).result()
                records = store.read(lambda reader: sum(1 for line in reader.lines(File.CANDIDATES) if line.id))
            for suffix in SUFFIXES:
                _move(self._ledger.with_name(LEDGER + suffix), aside.with_name(aside.name + suffix))
            for suffix in SUFFIXES:
                _move(building / (LEDGER + suffix), self._ledger.with_name(LEDGER + suffix))
            sync_directory(self._private)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return records, aside

    def _carry_over(self, tx: Transaction) -> None:
        for line, raw in self._old.pending:
            _carry_over_one(tx, line, raw)


def lock(data_dir: Path) -> DataDirectoryLock:
    """Keep servers out of the directory meanwhile. Raises DataDirectoryTaken, OSError."""
    held = DataDirectoryLock(data_dir)
    held.name("no address: it rebuilds the ledger")
    return held


def _carry_over_one(tx: Transaction, line: LedgerLine, raw: bytes) -> None:
    new = parse(raw)
    if line.sync is Sync.REMOVE:
        if line.id is not None:
            tx.remove(line.file, line.id)
    elif line.kind is not LineKind.RECORD or new.columns is None:
        tx.save(line.file, new)
    elif (standing := tx.line_of(line.file, new.columns.id)) is None:
        tx.add(line.file, new)
    elif standing.digest != new.digest:
        tx.replace(standing.key, new)


@contextmanager
def _opened(path: Path, first_revision: int) -> Iterator[Store]:
    store = SqliteStore(path, encode=encode_example, first_revision=first_revision)
    try:
        yield store
    finally:
        store.close()


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def _count(number: int | None) -> str:
    return "an unknown number of" if number is None else str(number)
