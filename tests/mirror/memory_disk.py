"""A disk and a clock in memory: what was synced is known, others hold files open, and a kill or a power cut can come.

`before` is called before each thing that the mirror does to the disk, so that others come between any two of them. It
is told whether a lease of ours keeps others away at that moment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk, FileChanged, Lease, Stat

STARTED = 1_700_000_000.0


class MemoryClock(Clock):
    """It moves on only when it is told to, or by sleeping. `stepped` is how far the wall clock was set on."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.stepped = 0.0

    def now(self) -> float:
        return STARTED + self.passed + self.stepped

    def monotonic(self) -> float:
        return 1_000.0 + self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@dataclass
class Inode:
    """One file; `synced` is what a power cut leaves for certain."""

    number: int
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    mtime_ns: int = 0
    ctime_ns: int = 0
    holders: int = 0
    """How many other programs have it open."""


@dataclass
class _Open:
    inode: Inode
    appends: bool
    position: int = 0
    leased: bool = False


class MemoryDisk(Disk):
    """The files of one directory, and no other."""

    def __init__(self, clock: MemoryClock) -> None:
        self._clock = clock
        self._numbers = itertools.count(100)
        self._descriptors = itertools.count(10)
        self._times = itertools.count()
        self.names_: dict[Path, Inode] = {}
        self.synced_names: dict[Path, Inode] = {}
        self.open_: dict[int, _Open] = {}
        self.before: Callable[[bool], None] = lambda leased: None

    # --- other programs

    def put(self, path: Path, data: bytes) -> Inode:
        """Another program writes a new file and renames it into place."""
        inode = self._inode()
        inode.data[:] = data
        self._touch(inode)
        self.names_[path] = inode
        return inode

    def overwrite(self, inode: Inode, data: bytes) -> None:
        """Another program truncates the file and writes it."""
        inode.data[:] = data
        self._touch(inode)

    def add(self, inode: Inode, data: bytes) -> None:
        """Another program appends."""
        inode.data += data
        self._touch(inode)

    def content(self, path: Path) -> bytes:
        """What the file holds."""
        inode = self.names_.get(path)
        return bytes(inode.data) if inode is not None else b""

    def versions(self, path: Path) -> list[bytes]:
        """What the file holds, and what it may hold again after a power cut."""
        inodes = [inode for inode in (self.names_.get(path), self.synced_names.get(path)) if inode is not None]
        return [data for inode in inodes for data in (bytes(inode.data), inode.synced)]

    def kill(self) -> None:
        """The process is gone: its descriptors and leases too."""
        self.open_.clear()

    def power_cut(self, random: Random) -> None:
        """Of what was not synced anything may be there: names, blocks, a part of what was appended."""
        self.kill()
        if random.random() < 0.3:
            self.names_ = dict(self.synced_names)
        for inode in {id(one): one for one in self.names_.values()}.values():
            inode.holders = 0
            inode.data[:] = self._after_power_cut(bytes(inode.data), inode.synced, random)
            inode.synced = bytes(inode.data)
            self._touch(inode, keeps_mtime=True)
        self.synced_names = dict(self.names_)

    def _after_power_cut(self, data: bytes, synced: bytes, random: Random) -> bytes:
        """Line by line, so that no line is half there: that is what other tests are for."""
        if data == synced:
            return data
        lines, at = synced.splitlines(keepends=True), 0
        for line in lines:
            now = data[at : at + len(line)]
            if now != line and now.strip():
                # It was written again: a mixture of the two is what other tests are for.
                return synced if random.random() < 0.5 else data
            at += len(line)
        if len(data) < len(synced):
            return synced if random.random() < 0.5 else data
        start = bytearray(synced)
        at = 0
        for line in lines:
            if random.random() < 0.5:
                start[at : at + len(line)] = data[at : at + len(line)]
            at += len(line)
        more = data[len(synced) :].splitlines(keepends=True)
        return bytes(start) + b"".join(more[: random.randrange(len(more) + 1)])

    # --- the mirror

    def _inode(self) -> Inode:
        inode = Inode(next(self._numbers))
        self._touch(inode)
        return inode

    def _touch(self, inode: Inode, keeps_mtime: bool = False) -> None:
        now = int(self._clock.now() * 1e9) + next(self._times)
        inode.ctime_ns = now
        if not keeps_mtime:
            inode.mtime_ns = now

    def _step(self) -> None:
        self.before(any(one.leased for one in self.open_.values()))

    def _stat(self, inode: Inode) -> Stat:
        links = sum(one is inode for one in self.names_.values())
        return Stat(1, inode.number, len(inode.data), inode.mtime_ns, inode.ctime_ns, links)

    def resolve(self, path: Path) -> Path:
        return path

    def stat(self, path: Path) -> Stat | None:
        self._step()
        inode = self.names_.get(path)
        return None if inode is None else self._stat(inode)

    def fstat(self, descriptor: int) -> Stat:
        return self._stat(self.open_[descriptor].inode)

    def exists(self, path: Path) -> bool:
        return path in self.names_

    def names(self, directory: Path) -> list[str]:
        return sorted(path.name for path in self.names_ if path.parent == directory)

    def make_directory(self, path: Path) -> None:
        pass

    def _opened(self, inode: Inode, appends: bool = False) -> int:
        descriptor = next(self._descriptors)
        self.open_[descriptor] = _Open(inode, appends)
        return descriptor

    def open_to_read(self, path: Path) -> int:
        self._step()
        return self._opened(self._named(path))

    def open_to_change(self, path: Path) -> int:
        self._step()
        return self._opened(self._named(path))

    def _named(self, path: Path) -> Inode:
        if path not in self.names_:
            raise FileNotFoundError(path)
        return self.names_[path]

    def open_to_append(self, path: Path) -> int:
        self._step()
        if path not in self.names_:
            self.names_[path] = self._inode()
        return self._opened(self.names_[path], appends=True)

    def create(self, path: Path) -> int:
        self._step()
        if path in self.names_:
            raise FileExistsError(path)
        self.names_[path] = self._inode()
        return self._opened(self.names_[path])

    def close(self, descriptor: int) -> None:
        del self.open_[descriptor]

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        return bytes(self.open_[descriptor].inode.data[offset : offset + length])

    def append(self, descriptor: int, data: bytes) -> int:
        self._step()
        one = self.open_[descriptor]
        one.inode.data += data
        one.position = len(one.inode.data)
        self._touch(one.inode)
        return len(data)

    def position(self, descriptor: int) -> int:
        return self.open_[descriptor].position

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        self._step()
        inode = self.open_[descriptor].inode
        inode.data[len(inode.data) :] = b"\0" * max(0, offset - len(inode.data))
        inode.data[offset : offset + len(data)] = data
        self._touch(inode)
        return len(data)

    def truncate(self, descriptor: int, size: int) -> None:
        inode = self.open_[descriptor].inode
        if size != len(inode.data):
            del inode.data[size:]
            self._touch(inode)

    def sync(self, descriptor: int) -> None:
        self._step()
        inode = self.open_[descriptor].inode
        inode.synced = bytes(inode.data)

    def sync_directory(self, path: Path) -> None:
        self._step()
        self.synced_names = dict(self.names_)

    def copy(self, source: int, start: int, target: int, at: int, count: int) -> int:
        data = self.read(source, count, start)
        if not data:
            raise FileChanged
        return self.write(target, data, at)

    def take_after(self, descriptor: int, source: int) -> None:
        self._touch(self.open_[descriptor].inode, keeps_mtime=True)

    def write_lease(self, descriptor: int) -> Lease:
        self._step()
        one = self.open_[descriptor]
        others = sum(other.inode is one.inode for other in self.open_.values()) - 1
        if one.inode.holders or others:
            return Lease.REFUSED
        one.leased = True
        return Lease.GRANTED

    def read_lease(self, descriptor: int) -> Lease:
        return Lease.REFUSED if self.open_[descriptor].inode.holders else Lease.GRANTED

    def end_lease(self, descriptor: int) -> None:
        self.open_[descriptor].leased = False

    def rename(self, path: Path, to: Path) -> None:
        self._step()
        self.names_[to] = self._named(path)
        del self.names_[path]

    def link(self, path: Path, to: Path) -> None:
        self._step()
        self.names_[to] = self._named(path)

    def unlink(self, path: Path) -> None:
        self._step()
        self.names_.pop(path, None)

    def exchange(self, one: Path, other: Path) -> bool:
        self._step()
        self.names_[one], self.names_[other] = self._named(other), self._named(one)
        return True
