"""A disk that only the keeper of the files may change: each change asks first whether it still keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avocet_grpc.mirror.fs.disk import Disk

Check = Callable[[], None]
"""Raises `core.ports.mirror.Fenced` once this process may no longer write. It MUST return at once."""


class FencedDisk(Disk):
    """The real disk for as long as `check` lets it change something; reading is always allowed.

    Every method that changes a file or a name raises what `check` raises, and nothing is changed then.
    """

    def __init__(self, check: Check) -> None:
        self._check = check

    def make_directory(self, path: Path) -> None:
        self._check()
        super().make_directory(path)

    def open_to_append(self, path: Path) -> int:
        self._check()
        return super().open_to_append(path)

    def create(self, path: Path) -> int:
        self._check()
        return super().create(path)

    def append(self, descriptor: int, data: bytes) -> int:
        self._check()
        return super().append(descriptor, data)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        self._check()
        return super().write(descriptor, data, offset)

    def truncate(self, descriptor: int, size: int) -> None:
        self._check()
        super().truncate(descriptor, size)

    def copy(self, source: int, start: int, target: int, at: int, count: int) -> int:
        self._check()
        return super().copy(source, start, target, at, count)

    def take_after(self, descriptor: int, source: int) -> None:
        self._check()
        super().take_after(descriptor, source)

    def rename(self, path: Path, to: Path) -> None:
        self._check()
        super().rename(path, to)

    def link(self, path: Path, to: Path) -> None:
        self._check()
        super().link(path, to)

    def unlink(self, path: Path) -> None:
        self._check()
        super().unlink(path)

    def exchange(self, one: Path, other: Path) -> bool:
        self._check()
        return super().exchange(one, other)
