"""Looks whether the private directory is the service's own.

A user who can put files or links into it could make the service write elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from avocet_grpc.layout import DataDirectory


class UnsafeDirectory(Exception):
    """The private directory is not the service's own; the text says what to do."""


def refuse_if_planted(data_dir: Path, *, for_its_owner: bool = False) -> None:
    """Raise UnsafeDirectory if somebody else may have made the private directory or anything below it.

    That is so if it belongs to others, is neither a regular file nor a directory, or can be written by everybody.

    `for_its_owner`: what belongs to the owner of the data directory is right, too. An operator who is somebody else
    works for that user. Raises OSError for what cannot be looked at.
    """
    private = DataDirectory(data_dir).private
    owners = {os.geteuid(), os.stat(data_dir).st_uid} if for_its_owner else {os.geteuid()}
    try:
        found = os.lstat(private)
    except FileNotFoundError:
        return
    _refuse(private, found, stat.S_ISDIR(found.st_mode), "a directory", owners)
    for path, found in _below(private):
        whole = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
        _refuse(path, found, whole, "a regular file", owners)


def give_to_owner(made: Path, directory: Path, but: Collection[str] = ()) -> None:
    """Give the directory that root has made, and all below it, to the owner of `directory`.

    The service runs as that user. Files with the names `but` keep their owner. Raises OSError.
    """
    if os.geteuid() != 0:
        return
    owner = os.stat(directory)
    for path in (made, *(path for path, _ in _below(made) if path.name not in but)):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _below(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield all that is below a directory, each before what is in it; no link is followed.

    What a service removes meanwhile, since `verify` and `backup` run beside one, is left out.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for path in (directory / name for name in names):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        yield path, found
        if stat.S_ISDIR(found.st_mode):
            yield from _below(path)


def _refuse(path: Path, found: os.stat_result, is_kind: bool, kind: str, owners: set[int]) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise UnsafeDirectory(f"{path} is a symbolic link: remove it, since the service follows none there")
    if not is_kind:
        raise UnsafeDirectory(f"{path} is not {kind}: move it away")
    if found.st_uid not in owners:
        raise UnsafeDirectory(
            f"{path} belongs to user {found.st_uid}, and this runs as user {os.geteuid()}:"
            " run chown on it if it is the service's own, or move it away"
        )
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH:
        raise UnsafeDirectory(f"{path} can be written by every user: look at what is in it, then run chmod o-w on it")
