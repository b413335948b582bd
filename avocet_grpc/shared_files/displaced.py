"""One file that a swap took away."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from avocet_grpc.core.ports.files import DisplacedFile
from avocet_grpc.shared_files.blocks import Blocks, Span
from avocet_grpc.shared_files.watch import Signature, signature, tail_before

LEVEL_AT = re.compile(r"\.at-([0-9]+)\.")
UNKNOWN_SIZE = 2**63 - 1
"""Noted of a file that somebody was rewriting: what comes behind its end is not news."""
MOST_BLANKED = 10_000
"""With more places to blank first, it is no twin any more."""


class Displaced:
    """One displaced file. `noted` is what it was; None where the ledger knows nothing of it.

    `end` is the digest of what stood before the noted size. Its first `common` bytes had these `blocks`, and `blanked`
    is what was blanked of them since in the file that took its place. `doubtful`: it has grown since it was last
    compared with the blocks, which may hide an edit. `level_at`: a revision up to which it had all changes of ours.
    """

    def __init__(
        self,
        path: Path,
        noted: DisplacedFile | None,
        end: str | None = None,
        blocks: Blocks | None = None,
        common: int = 0,
        doubtful: bool = False,
    ) -> None:
        self.path = path
        self.noted, self.end = noted, end
        self.blocks, self.common, self.doubtful = blocks, common, doubtful
        self.blanked: list[Span] = []
        level_at = LEVEL_AT.search(path.name)
        self.level_at = int(level_at[1]) if level_at else 0
        self.read_to = noted.read_to if noted else 0
        self._exact = noted is not None and noted.size != UNKNOWN_SIZE
        self._seen: Signature | None = None
        self._still_since = time.monotonic()

    def look(self) -> tuple[Signature | None, float]:
        """What it is now, and for how many seconds it has been still."""
        now, found = time.monotonic(), signature(self.path)
        if found != self._seen:
            if found is not None:
                self._judge(found)
            self._seen, self._still_since = found, now
        return found, now - self._still_since

    def _judge(self, found: Signature) -> None:
        """Whether a change is more lines at the end; what else it may be makes it one that is read as a whole."""
        before = self._seen.size if self._seen else self.noted.size if self.noted else 0
        if found.size > before:
            self.doubtful = self.doubtful or self.blocks is not None
            self._exact = self._exact and self.end is not None and self.end == self._end()
        elif self._seen is not None:
            self._exact = False

    def _end(self) -> str:
        return end_before(self.path, self.noted.size if self.noted else 0)

    def has_other_names(self) -> bool:
        """Whether others reach it by a hard link, and may write to it at any time."""
        return os.stat(self.path).st_nlink > 1

    def only_grew(self, found: Signature) -> bool:
        """Whether it is what was noted, and at most has more lines at its end."""
        noted = self.noted
        if noted is None or not self._exact:
            return False
        if (found.device, found.inode) != (noted.device, noted.inode) or found.size < max(noted.size, self.read_to):
            return False
        return found.size > noted.size or found.mtime_ns == noted.mtime_ns

    def settle(self, descriptor: int) -> None:
        """Look for what its growth may hide; where there is something, it has to be read as a whole. Raises OSError."""
        blocks = self.blocks
        known = blocks is not None and blocks.size == self.common and blocks.matches(descriptor, 0, self.common)
        self._exact = self._exact and known
        self.doubtful = False

    def is_twin_of(self, blocks: Blocks) -> bool:
        """Whether it lacks nothing but what was written since, all of it was read, and no name but ours leads to it."""
        if self.blocks is None or self.blocks.origin is not blocks.origin or len(self.blanked) > MOST_BLANKED:
            return False
        found, _ = self.look()
        if found is None or not self.only_grew(found):
            return False
        return found.size == self.read_to and not self.has_other_names()


def end_before(path: Path, size: int) -> str:
    """The digest of the last 64 KB before that byte. Raises OSError."""
    return xxh3_64_hexdigest(tail_before(path, size))
