"""Copies of a shared file in which lines are changed that others hold open in the file itself.

A displaced file is nearly such a copy already, once nobody has it open: it lacks what was written since. So if others
hold a large file again and again, a change costs what is new, and not a copy of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.mirror.fs.block_digests import BlockDigests, Span
from avocet_grpc.mirror.session import Session

COPY_BYTES = 16 * 1024 * 1024
COPY_S = 0.25
"""How long one round copies. Then it looks at other programs' lines again, and whether it can take a lease."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file that becomes a copy of the shared one, open, which nobody else has open.

    Its first `common` bytes are those of the shared file before places were `blanked`; `origin` is that of its blocks.
    `copied_s` is for how long they were copied, `used_at` when last (monotonic seconds); 0 if nothing was.
    """

    path: Path
    descriptor: int
    origin: object
    common: int = 0
    blanked: tuple[Span, ...] = ()
    copied_s: float = 0.0
    used_at: float = 0.0

    @classmethod
    def empty(cls, session: Session, path: Path, blocks: BlockDigests) -> Copy:
        """Return a new file at `path`. Raises OSError."""
        return cls(path, session.disk.create(path), blocks.origin, used_at=session.clock.monotonic())

    def copied(self, session: Session, source: int, size: int) -> Copy:
        """Go on copying the first `size` bytes of `source` for a while; they are on the disk then. Raises OSError."""
        disk, clock = session.disk, session.clock
        started, common = clock.monotonic(), self.common
        while common < size and clock.monotonic() - started < COPY_S:
            common += disk.copy(source, common, self.descriptor, common, min(COPY_BYTES, size - common))
            disk.sync(self.descriptor)
        now = clock.monotonic()
        took = self.copied_s + now - started
        return Copy(self.path, self.descriptor, self.origin, common, self.blanked, took, now)

    def with_blanked(self, places: tuple[Span, ...]) -> Copy:
        """Note that those places were blanked in the shared file."""
        blanked = (*self.blanked, *places)
        return Copy(self.path, self.descriptor, self.origin, self.common, blanked, self.copied_s, self.used_at)


def level(session: Session, source: int, size: int, copy: Copy, blocks: BlockDigests) -> bool:
    """Give the copy what was written to `source` since, so that it has the same `size` bytes, of these `blocks`.

    Returns False if what was written does not give the same blocks. Raises OSError.
    """
    disk, common, target = session.disk, copy.common, copy.descriptor
    disk.truncate(target, common)
    places = [(at, min(length, common - at)) for at, length in copy.blanked if at < common]
    for at, length in places:
        disk.write_all(target, b" " * length, at)
    while common < size:
        common += disk.copy(source, common, target, common, size - common)
    spans = [*places, (max(0, copy.common - 1), 2)]
    return all(blocks.matches(disk, target, at, at + length) for at, length in spans)
