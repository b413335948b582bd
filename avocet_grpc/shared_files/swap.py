"""Replacing a whole shared file: the new one is copied from the old one, line by line in key order, by the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from avocet_grpc.core.model import File, Sync
from avocet_grpc.core.ports.files import Move, Place, Reader
from avocet_grpc.durable import sync_directory as sync_directory
from avocet_grpc.shared_files.blocks import Blocks, Span
from avocet_grpc.shared_files.watch import Signature, of_stat

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
NO_COPY = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
DISPLACED = ".displaced"
COPY_BYTES = 64 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Built:
    """A new file beside the old one, of `size` bytes: what stands elsewhere in it, what is new in it, what is not.

    `blocks` are its digests, and `blank` counts the bytes that hold no line; `blanked` are the places that hold one in
    the old file alone. `is_copy`: the whole file was written for it; `made` is its
    signature just before it was put in place.
    """

    path: Path
    moves: list[Move] = field(default_factory=list)
    placed: list[Place] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    size: int = 0
    blank: int = 0
    blanked: list[Span] = field(default_factory=list)
    is_copy: bool = True
    made: Signature | None = None
    blocks: Blocks = field(default_factory=Blocks)


def names(path: Path, level_at: int) -> tuple[Path, Path]:
    """Free names beside the file: for the new one while it is built, and for the old one once it is displaced.

    The latter says up to which revision the old one has all changes of ours.
    """
    stem = f".{path.name}.{time.time_ns()}"
    return path.with_name(f"{stem}.new"), path.with_name(f"{stem}.at-{level_at}{DISPLACED}")


def left_over(path: Path) -> list[Path]:
    """What swaps of this file displaced, oldest first; what was never more than half built is removed."""
    for built in path.parent.glob(f".{path.name}.*.new"):
        built.unlink()
    return sorted(path.parent.glob(f".{path.name}.*{DISPLACED}"))


def build(reader: Reader, file: File, source: int, target: Path) -> Built:
    """Write every line in key order, as the ledger has it, to a new file of the mode and owner of the open `source`.

    A line that is not changed is copied from where the ledger has it in `source`. Raises OSError, and leaves nothing
    behind then.
    """
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            built = _Copy(source, descriptor, target).run(reader, file)
            take_after(descriptor, source)
            os.fsync(descriptor)
            built.blocks = Blocks.of(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target)
        raise
    return built


def catch_up(source: int, target: Path, start: int) -> Signature | None:
    """Copy what others appended to `source` behind `start`; its signature then, None where it ends inside a line.

    Raises OSError.
    """
    found = of_stat(os.fstat(source))
    if found.size > start:
        if os.pread(source, 1, found.size - 1) != b"\n":
            return None
        descriptor = os.open(target, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.lseek(descriptor, 0, os.SEEK_END)
            while start < found.size:
                start += copy_some(source, descriptor, start, found.size - start)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return found


def exchange(built: Path, path: Path, displaced: Path) -> None:
    """Put `built` in place of `path`; the old file is then `displaced`. The caller syncs the directory.

    Raises OSError; the file is then in its place still.
    """
    os.rename(built, displaced)
    if _libc.renameat2(AT_FDCWD, os.fsencode(displaced), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        os.rename(displaced, built)
        if number not in NO_EXCHANGE:
            raise OSError(number, os.strerror(number), str(path))
        os.link(path, displaced)
        os.replace(built, path)


class _Copy:
    """Copies lines from one open file to another; neighbours go in one piece."""

    def __init__(self, source: int, target: int, path: Path) -> None:
        self._source, self._target = source, target
        self._size = os.fstat(source).st_size
        self._built = Built(path)
        self._start = self._stop = 0

    def run(self, reader: Reader, file: File) -> Built:
        for key, digest, sync, offset, length in reader.rows(file):
            if sync == Sync.REMOVE:
                self._built.removed.append(key)
            elif sync == Sync.CLEAN and offset is not None and length is not None:
                self._copy(key, offset, length)
            else:
                self._write(key, digest, reader.raw(key))
        self._flush()
        return self._built

    def _copy(self, key: int, offset: int, length: int) -> None:
        self._note_move(key, self._built.size - offset)
        if offset != self._stop:
            self._flush()
            self._start = offset
        self._stop = offset + length + 1
        self._built.size += length + 1
        if self._stop > self._size:
            # The last line has no newline of its own.
            self._stop -= 1
            self._flush()
            self._write_all(b"\n")

    def _note_move(self, key: int, by: int) -> None:
        # Keys between two that move alike are placed or removed afterwards, so a stretch may run over them.
        moves = self._built.moves
        if moves and moves[-1][2] == by:
            moves[-1] = (moves[-1][0], key, by)
        else:
            moves.append((key, key, by))

    def _write(self, key: int, digest: bytes, raw: bytes) -> None:
        self._flush()
        self._built.placed.append((key, digest, self._built.size, len(raw), True))
        self._write_all(raw + b"\n")
        self._built.size += len(raw) + 1

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._target, view) :]

    def _flush(self) -> None:
        """Copy the stretch that waits."""
        while self._start < self._stop:
            self._start += copy_some(self._source, self._target, self._start, self._stop - self._start)


def copy_some(source: int, target: int, offset: int, count: int) -> int:
    """Copy at most `count` bytes to the position of `target`; how many they were. Raises OSError."""
    try:
        copied = os.copy_file_range(source, target, min(count, COPY_BYTES), offset)
    except OSError as error:
        if error.errno not in NO_COPY:
            raise
        copied = os.write(target, os.pread(source, min(count, BUFFER_BYTES), offset))
    if copied == 0:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    return copied


def take_after(descriptor: int, source: int) -> None:
    """Give a file the mode and owner of the open `source`. Raises OSError."""
    made, old = os.fstat(descriptor), os.fstat(source)
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o7777)
