"""Replacing a whole shared file, and draining the one that it displaced."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.model import File, Sync
from avocet_grpc.core.ports import Place, Reader
from avocet_grpc.shared_files.watch import Signature, has_writer, read_range, signature, split_lines

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
CHUNK_BYTES = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Built:
    """A new file beside the old one. A place is `ours` where the line was pending."""

    path: Path
    places: list[Place]
    removed: list[int]
    size: int


def hidden_name(path: Path) -> Path:
    """A free name beside the file; whatever is found under such a name after a crash is read before it goes."""
    return path.with_name(f".{path.name}.{time.time_ns()}.displaced")


def left_over(path: Path) -> list[Path]:
    """What swaps of this file left behind, oldest first."""
    return sorted(path.parent.glob(f".{path.name}.*.displaced"))


def build(reader: Reader, file: File, path: Path) -> Built:
    """Write every line in key order, as the ledger has it, to a new file of the same mode and owner; fsync it.

    Raises OSError, and leaves nothing behind then.
    """
    target = hidden_name(path)
    places: list[Place] = []
    removed: list[int] = []
    offset = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=CHUNK_BYTES) as out:
            for line in reader.lines(file):
                if line.sync is Sync.REMOVE:
                    removed.append(line.key)
                    continue
                raw = reader.raw(line.key)
                out.write(raw + b"\n")
                places.append((line.key, line.digest, offset, len(raw), line.sync is not Sync.CLEAN))
                offset += len(raw) + 1
            _take_after(out.fileno(), path)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(target)
        raise
    return Built(target, places, removed, offset)


def exchange(new: Path, path: Path) -> bool:
    """Put `new` in place of `path`; the old file is then under the name `new`. False where there was no old one.

    Raises OSError.
    """
    if not path.exists():
        os.rename(new, path)
        _sync_directory(path.parent)
        return False
    if _libc.renameat2(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(path), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        if number not in NO_EXCHANGE:
            raise OSError(number, os.strerror(number), str(path))
        kept = hidden_name(path)
        with contextlib.suppress(OSError):
            os.link(path, kept)
        os.replace(new, path)
        if kept.exists():
            os.rename(kept, new)
    _sync_directory(path.parent)
    return new.exists()


@dataclass(slots=True)
class Displaced:
    """A file that a swap took away, and up to which byte it was read. `exact`: it is what was noted, or grew."""

    path: Path
    read_to: int
    exact: bool
    seen: Signature | None = None
    still_since: float = 0.0

    def look(self) -> float:
        """For how many seconds it has been still."""
        now, found = time.monotonic(), signature(self.path)
        if found != self.seen:
            if self.seen is not None and found is not None:
                self.exact = self.exact and found.size > self.seen.size
            self.seen, self.still_since = found, now
        if found is None or found.size < self.read_to:
            self.exact = False
        return now - self.still_since

    def grown(self) -> list[bytes]:
        """The whole lines that came since the last call. Raises OSError."""
        if self.seen is None or self.seen.size <= self.read_to:
            return []
        found = split_lines(read_range(self.path, self.read_to, self.seen.size), self.read_to)
        self.read_to = found.end
        return [raw for _, raw in found.lines]

    def rest(self) -> list[bytes]:
        """All that was not read yet, a torn line too. Raises OSError."""
        if self.seen is None:
            return []
        data = read_range(self.path, self.read_to, self.seen.size)
        self.read_to = self.seen.size
        return [raw for _, raw in split_lines(data + b"\n", 0).lines]

    def is_written(self) -> bool:
        """Whether somebody has it open for writing; False where the file system cannot tell."""
        return bool(has_writer(self.path))


def _take_after(descriptor: int, path: Path) -> None:
    """The old file's mode and owner; a new file gets what the umask leaves of 0644."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o7777)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
