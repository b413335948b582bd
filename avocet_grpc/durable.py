"""Making files and names survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: created, renamed and removed ones. Raises OSError."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make a file's content durable. Raises OSError."""
    _sync(path, os.O_RDONLY)


def put_in_place(complete: Path, place: Path) -> None:
    """Make `complete` durable, then give it the name `place` durably. Raises OSError."""
    sync_file(complete)
    os.replace(complete, place)
    sync_directory(place.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
