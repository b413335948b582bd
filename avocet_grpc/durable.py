"""Making files and names survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The errors of a write that found no room: on the disk, in a quota, or below a limit of the size of files."""

ACCESS_LIST = "system.posix_acl_access"
"""The attribute of a file that has the POSIX access list."""


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


def replace_content(path: Path, data: bytes, check: Callable[[], None] | None = None) -> None:
    """Give the file this content in one durable rename; its mode and owner stay. Raises OSError, with nothing changed.

    So do its access list and its attributes. A file that did not exist gets mode 0600. The owner stays only if this
    process may set it. `check` is called right
    before the rename; nothing is changed if it raises.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            with contextlib.suppress(FileNotFoundError):
                old = os.stat(path)
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
                take_rights(file.fileno(), path)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check()
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_directory(path.parent)


def take_rights(descriptor: int, source: int | Path) -> None:
    """Give an open file the mode, access list and `user.` attributes of another one. Raises OSError.

    Set the owner before: a change of owner takes bits of the mode away. If the list cannot be copied, the group gets
    no rights.
    """
    mode, names = os.stat(source).st_mode & 0o7777, _attributes(source)
    for name in names:
        if name.startswith("user."):
            with contextlib.suppress(OSError):
                os.setxattr(descriptor, name, os.getxattr(source, name))
    try:
        if ACCESS_LIST in names:
            os.setxattr(descriptor, ACCESS_LIST, os.getxattr(source, ACCESS_LIST))
        elif ACCESS_LIST in _attributes(descriptor):
            # The directory gives one to each new file.
            os.removexattr(descriptor, ACCESS_LIST)
    except OSError:
        # The mode's bits of the group are the mask of the list: without the list they would be the group's rights.
        mode &= ~0o070
    os.fchmod(descriptor, mode)


def _attributes(file: int | Path) -> list[str]:
    try:
        return os.listxattr(file)
    except OSError:
        return []


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
