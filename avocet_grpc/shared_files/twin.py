"""A twin of a shared file: the same bytes in another file, where lines are changed that others hold open in the first.

What a swap displaced is nearly a twin already, once nobody has it open: it lacks what was written since. So where
others hold a large file again and again, a change costs what is new, and not a copy of the whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avocet_grpc.shared_files import swap
from avocet_grpc.shared_files.blocks import Blocks, Span
from avocet_grpc.shared_files.patch import Change, Patched, apply, write_at

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
COPY_BYTES = 16 * 1024 * 1024
COPY_S = 0.25
"""For so long one round copies; then others' lines are looked at again, and whether there is a lease."""


@dataclass(slots=True)
class Base:
    """A file that shall become a twin, open, which nobody else has open.

    Its first `common` bytes are those of the shared file before places were `blanked`; `origin` is that of its blocks.
    `copied_s` is how long they were copied, `used_at` when last (monotonic seconds); 0 where nothing was.
    """

    path: Path
    descriptor: int
    origin: object
    common: int = 0
    blanked: list[Span] = field(default_factory=list)
    copied_s: float = 0.0
    used_at: float = 0.0

    @classmethod
    def empty(cls, path: Path, blocks: Blocks) -> Base:
        """A new file at `path`. Raises OSError."""
        return cls(path, os.open(path, NEW, 0o600), blocks.origin)

    def copy(self, source: int, size: int) -> bool:
        """Go on copying the first `size` bytes of `source`; True once all are there, on the disk. Raises OSError."""
        started = time.monotonic()
        os.lseek(self.descriptor, self.common, os.SEEK_SET)
        while self.common < size and time.monotonic() - started < COPY_S:
            self.common += swap.copy_some(source, self.descriptor, self.common, min(COPY_BYTES, size - self.common))
            os.fsync(self.descriptor)
        self.used_at = time.monotonic()
        self.copied_s += self.used_at - started
        return self.common >= size


def level(source: int, size: int, base: Base, blocks: Blocks) -> bool:
    """Give the base what was written to `source` since, so that it has the same `size` bytes, of these `blocks`.

    False where what was written does not give the same blocks. Raises OSError.
    """
    common, target = base.common, base.descriptor
    os.ftruncate(target, common)
    places = [(at, min(length, common - at)) for at, length in base.blanked if at < common]
    for at, length in places:
        write_at(target, b" " * length, at)
    os.lseek(target, common, os.SEEK_SET)
    while common < size:
        common += swap.copy_some(source, target, common, size - common)
    return all(blocks.matches(target, at, at + length) for at, length in [*places, (max(0, base.common - 1), 2)])


def change(
    source: int,
    size: int,
    target: int,
    changes: Sequence[Change],
    new: Sequence[bytes],
    newline_first: bool,
    blocks: Blocks,
) -> Patched:
    """Make the changes in the twin, and give it the mode and owner of `source`; `blocks` are kept true.

    It is on the disk then. Raises OSError.
    """
    patched = apply(target, size, changes, new, newline_first, blocks)
    swap.take_after(target, source)
    os.fsync(target)
    return patched
