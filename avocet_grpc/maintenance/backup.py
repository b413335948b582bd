"""Copies a data directory that may be in use, so that it can be started from.

The ledger is copied first, with all that was acknowledged before. The files follow, and the first start imports what
they have beyond the ledger. The mirror's index is not copied, since it would be of another moment. The first start
recognises a restored ledger: nothing that a file lacks counts as deleted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from avocet_grpc.durable import sync_directory, sync_file
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.store.sqlite.backup import copy_ledger

SETTLE_S = 1.0
"""How long a file may take to end in a whole line."""


class CannotBackUp(Exception):
    """The backup was not made; the text is one line for the operator."""


def back_up(data_dir: Path, target: Path, progress: Callable[[str, int, int], None]) -> int:
    """Copy `data_dir` to `target`, which must not exist yet; gives the copy's size in bytes.

    `progress` is told what is copied, how much of it is done, and of how much. `target` is there only once it is whole.
    Raises CannotBackUp, StorageFailed or OSError.
    """
    ledger = DataDirectory(data_dir).ledger
    if not ledger.exists():
        raise CannotBackUp(f"{data_dir} is no data directory of a server: it has no {ledger.relative_to(data_dir)}")
    if target.exists():
        raise CannotBackUp(f"{target} is there already: name a new directory for each backup")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    copy = DataDirectory(partial)
    partial.mkdir(mode=0o700, parents=True)
    copy.private.mkdir(mode=0o700)
    copy_ledger(ledger, copy.ledger, lambda done, total: progress("ledger", done, total))
    copy.running.touch()
    for name in SHARED_FILES.values():
        progress(name, 0, 1)
        _copy_file(data_dir / name, partial / name)
        progress(name, 1, 1)
    for path in (*partial.rglob("*"), partial):
        (sync_directory if path.is_dir() else sync_file)(path)
    partial.rename(target)
    sync_directory(target.absolute().parent)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy_file(source: Path, target: Path) -> None:
    """Copy with mode and owner, at a moment when nobody is inside a line, if such a moment comes."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        try:
            shutil.copy2(source, target)
        except FileNotFoundError:
            return
        if _ends_whole(target) or time.monotonic() > deadline:
            break
        time.sleep(SETTLE_S / 20)
    owner = source.stat()
    if os.geteuid() == 0:
        os.chown(target, owner.st_uid, owner.st_gid)


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
