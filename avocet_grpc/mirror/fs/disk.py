"""The system calls that the mirror makes. Tests replace them, and nothing else, to see what a bad disk does."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from avocet_grpc.durable import take_rights

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
NO_COPY = frozenset({errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM})
NO_LEASE_NOW = frozenset({errno.EAGAIN, errno.EBUSY})
NO_LEASES = frozenset({errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
MOST = 2**63 - 1
COPY_BYTES = 64 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class FileChanged(Exception):
    """The file is no longer as it was when it was looked at; look again."""


class NotARegularFile(OSError):
    """A pipe, a device or a directory stands under the name of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "not a regular file: move it away, or put the file in its place", str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class Stat(NamedTuple):
    """What a stat tells: sizes in bytes, times in nanoseconds, `links` the number of hard links."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int


class Lease(enum.Enum):
    """The answer to asking for a lease."""

    GRANTED = enum.auto()
    REFUSED = enum.auto()
    """Somebody else has the file open."""
    UNSUPPORTED = enum.auto()
    """The file system has no leases for this file."""


class Disk:
    """The real disk. Every method raises OSError if the kernel refuses."""

    def resolve(self, path: Path) -> Path:
        """Return the path without symbolic links; a name that leads nowhere stays as it is."""
        return Path(os.path.realpath(path))

    def resolve_file(self, path: Path) -> Path:
        """As `resolve`. Raises NotARegularFile, with the name that was given and not that of what it leads to."""
        self.stat(path)
        return self.resolve(path)

    def stat(self, path: Path) -> Stat | None:
        """Return None if there is no file. Raises NotARegularFile."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise NotARegularFile(path)
        return _stat(found)

    def fstat(self, descriptor: int) -> Stat:
        """Return what the open file is now."""
        return _stat(os.fstat(descriptor))

    def exists(self, path: Path) -> bool:
        """Return True if something has this name."""
        return os.path.lexists(path)

    def names(self, directory: Path) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(os.listdir(directory))

    def make_directory(self, path: Path) -> None:
        """Make a private directory; one that exists stays as it is."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def open_to_read(self, path: Path) -> int:
        """Return a descriptor to read from. Raises FileNotFoundError and NotARegularFile; never waits for a writer."""
        return self._open(path, os.O_RDONLY | os.O_NONBLOCK)

    def open_to_append(self, path: Path) -> int:
        """Return a descriptor whose writes go to the end; a missing file is created."""
        return self._open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)

    def open_to_change(self, path: Path) -> int:
        """Return a descriptor to read and write an existing file."""
        return self._open(path, os.O_RDWR | os.O_NONBLOCK)

    def create(self, path: Path) -> int:
        """Return a descriptor of a new, private file. Raises FileExistsError."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _open(self, path: Path, flags: int) -> int:
        try:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
        except IsADirectoryError:
            raise NotARegularFile(path) from None
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise NotARegularFile(path) from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotARegularFile(path)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close it; a lease ends with it."""
        os.close(descriptor)

    @contextlib.contextmanager
    def reading(self, path: Path) -> Iterator[int]:
        """Give the file open for reading, or -1 if there is none. Be quick: it stands in the way of our own lease."""
        try:
            descriptor = self.open_to_read(path)
        except FileNotFoundError:
            yield -1
            return
        try:
            yield descriptor
        finally:
            self.close(descriptor)

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        """Return the bytes at that place, fewer at the end of the file."""
        return os.pread(descriptor, length, offset)

    def append(self, descriptor: int, data: bytes) -> int:
        """Write to the end; return how many bytes the disk took."""
        return os.write(descriptor, data)

    def position(self, descriptor: int) -> int:
        """Return the offset behind what `append` wrote last."""
        return os.lseek(descriptor, 0, os.SEEK_CUR)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write there; return how many bytes the disk took."""
        return os.pwrite(descriptor, data, offset)

    def write_all(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of it there."""
        written = 0
        while written < len(data):
            written += self.write(descriptor, data[written:] if written else data, offset + written)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file off at that size."""
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Make the file's content durable."""
        os.fsync(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def copy(self, source: int, start: int, target: int, at: int, count: int) -> int:
        """Copy at most `count` bytes from one open file to another, by the kernel if it can; return how many."""
        try:
            copied = os.copy_file_range(source, target, min(count, COPY_BYTES), start, at)
        except OSError as error:
            if error.errno not in NO_COPY:
                raise
            copied = os.pwrite(target, os.pread(source, min(count, BUFFER_BYTES), start), at)
        if copied == 0:
            raise FileChanged("the file became shorter while it was copied")
        return copied

    def take_after(self, descriptor: int, source: int) -> None:
        """Give an open file the owner, mode, access list and attributes of another one."""
        made, old = os.fstat(descriptor), os.fstat(source)
        if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
            try:
                os.fchown(descriptor, old.st_uid, old.st_gid)
            except PermissionError as error:
                raise _not_ours(old, source) from error
        take_rights(descriptor, source)

    def write_lease(self, descriptor: int) -> Lease:
        """Ask for the lease under which every program that opens the file waits. It ends with the descriptor."""
        return self._lease(descriptor, fcntl.F_WRLCK)

    def read_lease(self, descriptor: int) -> Lease:
        """Ask for the lease that is granted only while nobody has the file open for writing."""
        return self._lease(descriptor, fcntl.F_RDLCK)

    def end_lease(self, descriptor: int) -> None:
        """Let those go on who wait for the file."""
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)

    def _lease(self, descriptor: int, kind: int) -> Lease:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, kind)
        except OSError as error:
            if error.errno in NO_LEASES:
                return Lease.UNSUPPORTED
            if error.errno in NO_LEASE_NOW:
                return Lease.REFUSED
            raise
        return Lease.GRANTED

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name; a file that has it is lost."""
        os.replace(path, to)

    def link(self, path: Path, to: Path) -> None:
        """Give a file one more name."""
        os.link(path, to)

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def exchange(self, one: Path, other: Path) -> bool:
        """Exchange the files of two names in one step; False if the file system cannot."""
        if _libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
            return True
        number = ctypes.get_errno()
        if number in NO_EXCHANGE:
            return False
        raise OSError(number, os.strerror(number), str(other))


def _stat(found: os.stat_result) -> Stat:
    """Return what the index can store: some file systems have inode numbers and times of more than 63 bits."""
    device, inode = (number - 2**64 if number > MOST else number for number in (found.st_dev, found.st_ino))
    mtime, ctime = (min(max(time, -MOST), MOST) for time in (found.st_mtime_ns, found.st_ctime_ns))
    return Stat(device, inode, found.st_size, mtime, ctime, found.st_nlink)


def _not_ours(file: os.stat_result, descriptor: int) -> PermissionError:
    text = (
        f"the file belongs to user {file.st_uid} and group {file.st_gid}, and the service is not allowed to make a file"
        f" of theirs; chown the file to the service's user, or run the service as user {file.st_uid}"
    )
    return PermissionError(errno.EPERM, text, os.readlink(f"/proc/self/fd/{descriptor}"))
