"""A little room that is set aside while there is some, and given back at a start on a full disk.

A database cannot be opened without some room, so that without it a full disk would keep a service from serving reads.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from avocet_grpc.layout import DataDirectory

RESERVE_BYTES = 128 * 1024
COMMIT_BYTES = 256 * 1024
"""Of what commits of usual decisions write: each changes some twenty pages, in the journal and then in the database."""


def give_back_or_set_aside(data_dir: Path) -> None:
    """At each start, before a database is opened. Raises nothing: without a reserve the start goes on."""
    reserve = DataDirectory(data_dir).reserve
    with contextlib.suppress(OSError):
        free = os.statvfs(data_dir)
        if free.f_bavail * free.f_frsize < RESERVE_BYTES:
            reserve.unlink(missing_ok=True)
        elif not reserve.exists():
            _set_aside(reserve)


def has_room_for_commits(data_dir: Path) -> bool:
    """Return whether the disk takes what usual commits write. A commit without changes may succeed without room."""
    try:
        with tempfile.TemporaryFile(dir=DataDirectory(data_dir).private) as file:
            os.posix_fallocate(file.fileno(), 0, COMMIT_BYTES)
    except OSError:
        return False
    return True


def _set_aside(reserve: Path) -> None:
    descriptor = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    except OSError:
        reserve.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
