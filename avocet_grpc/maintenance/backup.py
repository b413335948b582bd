"""Copies a data directory that may be in use, so that it can be started from.

The ledger is copied first, with all that was acknowledged before. The files follow, and the first start imports what
they have beyond the ledger. The mirror's index is not copied, since it would be of another moment. The first start
recognises a restored ledger: nothing that a file lacks counts as deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from avocet_grpc.durable import sync_directory, sync_file
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.maintenance.private_directory import give_to_owner
from avocet_grpc.maintenance.replacement import is_unfinished, way_to_finish
from avocet_grpc.mirror.fs.disk import BUFFER_BYTES, Disk
from avocet_grpc.store.sqlite.backup import copy_ledger

MARKER = ".backup-is-not-finished"
"""Stands in a directory in which a backup grows; who makes the backup holds its lock."""
SETTLE_S = 1.0
"""How long a file may take to end in a whole line."""
ENDS_WITHIN_S = 5.0
"""How long the last steps of a backup may take."""


class CannotBackUp(Exception):
    """The backup was not made; the text is one line for the operator."""


def back_up(data_dir: Path, target: Path, progress: Callable[[str, int, int], None]) -> int:
    """Copy `data_dir` to `target`, which must not exist yet; gives the copy's size in bytes.

    `progress` is told what is copied, how much of it is done, and of how much. `target` is there only once it is whole.
    Raises CannotBackUp, LedgerDamaged, StorageFailed or OSError (NotARegularFile for a pipe, device or directory in a
    file's place).
    """
    ledger = DataDirectory(data_dir).ledger
    if DataDirectory(data_dir).files_id.exists():
        raise CannotBackUp(f"{data_dir} has the files of a store in PostgreSQL: back up the database")
    if is_unfinished(DataDirectory(data_dir)):
        raise CannotBackUp(way_to_finish(data_dir))
    if not ledger.exists():
        raise CannotBackUp(f"{data_dir} is not a server's data directory: it has no {ledger.relative_to(data_dir)}")
    _refuse_place(target, data_dir)
    for name in SHARED_FILES.values():
        # Before the ledger, which may be large, is copied for nothing.
        Disk().stat(data_dir / name)
    with _unfinished(target) as partial:
        _fill(partial, data_dir, ledger, progress)
        (partial / MARKER).unlink()
        sync_directory(partial)
        # Something else may have this name by now. A rename would replace an empty directory.
        _refuse_place(target, data_dir)
        partial.rename(target)
    sync_directory(target.absolute().parent)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _refuse_place(target: Path, data_dir: Path) -> None:
    if os.path.lexists(target):
        raise CannotBackUp(f"{target} is there already: name a new directory for each backup")
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise CannotBackUp(f"{target} lies in {data_dir} and would go with it: name a directory elsewhere")
    above = next(path for path in target.absolute().parents if os.path.lexists(path))
    if not above.is_dir():
        raise CannotBackUp(f"{above} is not a directory: name another place for the backup")


@contextlib.contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """The empty directory in which a backup grows, held by this process; it is removed again if the backup fails.

    What a backup that was killed has left is removed first: its marker tells it from what belongs to others. Raises
    CannotBackUp, OSError.
    """
    partial = target.with_name(f"{target.name}.partial")
    marker = partial / MARKER
    until = time.monotonic() + ENDS_WITHIN_S
    while True:
        with contextlib.suppress(FileExistsError):
            partial.mkdir(mode=0o700, parents=True)
        if _is_ours(partial) or os.path.lexists(target) or time.monotonic() > until:
            break
        # A backup that ends at this moment has taken its marker away, and one that begins may just have made it.
        time.sleep(0.05)
    just_ended = f"another backup to {target} has just ended: name a new directory for each backup"
    if os.path.lexists(target):
        raise CannotBackUp(just_ended)
    if not _is_ours(partial):
        raise CannotBackUp(f"{partial} is in the way, and no backup has left it: move it away, or name another place")
    try:
        held = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise CannotBackUp(just_ended) from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotBackUp(f"another backup to {target} is under way: name another place, or let it end") from None
        if not marker.exists() or not os.path.samestat(os.fstat(held), marker.stat()):
            raise CannotBackUp(just_ended)
        try:
            _empty(partial)
            yield partial
        except BaseException:
            # A disk that was filled up would stay full.
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(held)


def _is_ours(partial: Path) -> bool:
    """Return whether a backup has made the directory, which begins empty."""
    try:
        if not partial.is_dir() or partial.is_symlink():
            return False
        return (partial / MARKER).is_file() or not any(partial.iterdir())
    except FileNotFoundError:
        return False


def _empty(partial: Path) -> None:
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != MARKER:
            path.unlink()


def _fill(partial: Path, data_dir: Path, ledger: Path, progress: Callable[[str, int, int], None]) -> None:
    """Copy everything to `partial`."""
    copy = DataDirectory(partial)
    copy.private.mkdir(mode=0o700)
    copy_ledger(ledger, copy.ledger, lambda done, total: progress("ledger", done, total))
    copy.running.touch()
    for name in SHARED_FILES.values():
        progress(name, 0, 1)
        _copy_file(data_dir / name, partial / name)
        progress(name, 1, 1)
    give_to_owner(partial, data_dir, but=SHARED_FILES.values())
    for path in (*partial.rglob("*"), partial):
        (sync_directory if path.is_dir() else sync_file)(path)


def _copy_file(source: Path, target: Path) -> None:
    """Copy with mode and owner, at a moment when nobody is inside a line, if such a moment comes.

    A link is followed. Raises OSError, and NotARegularFile for what might be copied without an end.
    """
    deadline = time.monotonic() + SETTLE_S
    while _copy_now(source, target) and not _ends_whole(target) and time.monotonic() <= deadline:
        time.sleep(SETTLE_S / 20)


def _copy_now(source: Path, target: Path) -> bool:
    """Copy the file as it is at this moment. False if there is none."""
    disk = Disk()
    # A device may act on being opened, so the file is looked at first.
    if disk.stat(source) is None:
        return False
    with disk.reading(source) as descriptor:
        if descriptor < 0:
            return False
        found, at = os.fstat(descriptor), 0
        with target.open("wb") as copy:
            # Only to the end of this moment: a writer that is faster than the copy would fill the disk.
            while part := disk.read(descriptor, min(BUFFER_BYTES, found.st_size - at), at):
                at += copy.write(part)
        shutil.copystat(f"/proc/self/fd/{descriptor}", target)
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid)
    return True


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
