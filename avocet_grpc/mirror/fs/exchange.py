"""Putting another file in the place of a shared one, so that the old one keeps a name and can be read on."""

from __future__ import annotations

from pathlib import Path

from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.fs.signature import Signature, ends_inside_a_line, signature_of

DISPLACED = ".displaced"
NEW = ".new"


def names(clock: Clock, path: Path, level_revision: int) -> tuple[Path, Path]:
    """Return free names beside the file: for the new one while it is built, and for the old one once it is displaced.

    The latter says up to which revision the old one has all changes of ours.
    """
    stem = f".{path.name}.{int(clock.now() * 1e9)}-{int(clock.monotonic() * 1e9)}"
    return path.with_name(f"{stem}{NEW}"), path.with_name(f"{stem}.at-{level_revision}{DISPLACED}")


def displaced_by(disk: Disk, path: Path) -> list[Path]:
    """Return what replacements of this file displaced, oldest first. Changes nothing."""
    return _beside(disk, path, DISPLACED)


def remove_half_built(disk: Disk, path: Path) -> None:
    """Remove what was built to replace this file and never did. Only its mirror may ask for it, at its start."""
    for built in _beside(disk, path, NEW):
        disk.unlink(built)


def _beside(disk: Disk, path: Path, suffix: str) -> list[Path]:
    names = disk.names(path.parent)
    return [path.with_name(name) for name in names if name.startswith(f".{path.name}.") and name.endswith(suffix)]


def exchange(disk: Disk, built: Path, path: Path, displaced: Path) -> None:
    """Put `built` in the place of `path`; the old file is then `displaced`. The caller syncs the directory.

    Raises OSError; the file is then still in its place.
    """
    disk.rename(built, displaced)
    try:
        if disk.exchange(displaced, path):
            return
    except OSError:
        disk.rename(displaced, built)
        raise
    disk.rename(displaced, built)
    disk.link(path, displaced)
    disk.rename(built, path)


def catch_up(disk: Disk, source: int, target: Path, start: int) -> Signature | None:
    """Copy what others appended to `source` behind `start`; return its signature then, None if it ends inside a line.

    Raises OSError.
    """
    found = signature_of(disk, source)
    if found.size > start:
        if ends_inside_a_line(disk, source, found.size):
            return None
        descriptor = disk.open_to_change(target)
        try:
            at = disk.fstat(descriptor).size
            while start < found.size:
                copied = disk.copy(source, start, descriptor, at, found.size - start)
                start, at = start + copied, at + copied
            disk.sync(descriptor)
        finally:
            disk.close(descriptor)
    return found
