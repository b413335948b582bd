"""Puts a rebuilt ledger in the place of the old one, so that a kill at any moment loses neither.

A ledger is several files, which no single rename exchanges. So the new one is finished and synced first, and one rename
of its directory says that it replaces the old one. From then on whoever comes next goes on with what is left to do,
before the ledger is opened: a start, or another rebuild.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from avocet_grpc.durable import sync_directory
from avocet_grpc.layout import INDEX, LEDGER, PRIVATE, DataDirectory

SUFFIXES = ("", "-wal", "-shm", "-journal", "-seal")
"""Of the files of a database. Its own comes first: once it has moved, the ones beside it belong to the new ledger."""

GROWING = f"{PRIVATE}-rebuild-"
COMPLETE = "rebuilt-"


def database(path: Path) -> list[Path]:
    """Return the names of all files that a database at this path may have."""
    return [path.with_name(path.name + suffix) for suffix in SUFFIXES]


@contextmanager
def growing(directory: DataDirectory) -> Iterator[Path]:
    """A directory in which the new ledger grows; it is removed if it does not become complete. Raises OSError.

    What root leaves in the private directory of another user, when it is killed, would keep that user's service from
    starting. So root builds beside it, if the data directory is on the same disk.
    """
    root, private = directory.root, directory.private
    is_beside = os.geteuid() == 0 and os.stat(root).st_dev == os.stat(private).st_dev
    building = Path(tempfile.mkdtemp(prefix=GROWING, dir=root if is_beside else private))
    try:
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)


def replace(directory: DataDirectory, building: Path) -> Path | None:
    """Put the complete ledger below `building` in place. Gives where the old one is, None if there was none.

    Raises OSError: the old one is in place then, or the next `finish` puts the new one there.
    """
    for path in (building / PRIVATE, building):
        sync_directory(path)
    time = _free_name(directory.private)
    building.rename(directory.private / f"{COMPLETE}{time}")
    sync_directory(directory.private)
    finish(directory)
    aside = _aside(directory.private, time)
    return aside if aside.exists() else None


def is_unfinished(directory: DataDirectory) -> bool:
    """Return whether a complete ledger, or a part of it, waits to be put in place."""
    waiting = (complete / PRIVATE / LEDGER for complete in directory.private.glob(f"{COMPLETE}*"))
    return any(path.exists() for ledger in waiting for path in database(ledger))


def way_to_finish(data_dir: Path) -> str:
    """Return what to say of a directory in which one waits."""
    return (
        f"a rebuild of the ledger was cut off in {data_dir}: start the service, or run 'avocet-grpc rebuild'; either"
        " finishes it"
    )


def finish(directory: DataDirectory) -> bool:
    """Do what a rebuild that was cut off had left to do, and remove what it built. Only who has the lock may do it.

    Returns whether a complete ledger was put in place. Raises OSError: the next one goes on.
    """
    private, was_unfinished = directory.private, is_unfinished(directory)
    for complete in private.glob(f"{COMPLETE}*"):
        new = complete / PRIVATE / LEDGER
        if new.exists():
            for path in database(private / INDEX):
                path.unlink(missing_ok=True)
            _move_all(directory.ledger, _aside(private, complete.name.removeprefix(COMPLETE)))
            # A journal of the old ledger must not be there again, after a power cut, beside the new one.
            sync_directory(private)
        _move_all(new, directory.ledger)
        sync_directory(private)
        shutil.rmtree(complete, ignore_errors=True)
    for place in (directory.root, private):
        for left in place.glob(f"{GROWING}*"):
            shutil.rmtree(left, ignore_errors=True)
    return was_unfinished


def _free_name(private: Path) -> str:
    """The time, or what follows it: two rebuilds of one second keep both old ledgers."""
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = itertools.chain([time], (f"{time}-{number}" for number in itertools.count(2)))
    return next(name for name in names if not _is_taken(private, name))


def _is_taken(private: Path, name: str) -> bool:
    places = [*database(_aside(private, name)), private / f"{COMPLETE}{name}"]
    return any(os.path.lexists(place) for place in places)


def _aside(private: Path, name: str) -> Path:
    return private / f"ledger-{name}.db"


def _move_all(source: Path, target: Path) -> None:
    for one, place in zip(database(source), database(target), strict=True):
        if one.exists():
            one.rename(place)
