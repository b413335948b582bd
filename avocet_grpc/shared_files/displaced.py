"""One file that a swap took away."""

from __future__ import annotations

import os
import time
from pathlib import Path

from avocet_grpc.core.ports import DisplacedFile
from avocet_grpc.shared_files.blocks import Blocks, Span
from avocet_grpc.shared_files.watch import Signature, signature


class Displaced:
    """One displaced file. `noted` is what it was; None where the ledger knows nothing of it.

    Its first `common` bytes had these `blocks`, and `blanked` is what was blanked of them since in the file that took
    its place. `doubtful`: it has grown since it was last compared with the blocks, which may hide an edit.
    `level_at` is a revision up to which it had all changes of ours; None where that is not known.
    """

    def __init__(
        self,
        path: Path,
        noted: DisplacedFile | None,
        blocks: Blocks | None = None,
        common: int = 0,
        doubtful: bool = False,
        level_at: int | None = None,
    ) -> None:
        self.path = path
        self.noted = noted
        self.blocks, self.common, self.doubtful = blocks or Blocks(), common, doubtful
        self.blanked: list[Span] = []
        self.level_at = level_at
        self.read_to = noted.read_to if noted else 0
        self._exact = noted is not None
        self._seen: Signature | None = None
        self._still_since = time.monotonic()

    def look(self) -> tuple[Signature | None, float]:
        """What it is now, and for how many seconds it has been still."""
        now, found = time.monotonic(), signature(self.path)
        if found != self._seen:
            if self._seen is not None and found is not None and found.size <= self._seen.size:
                self._exact = False
            self._seen, self._still_since = found, now
        return found, now - self._still_since

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
        known = self.blocks.size == self.common
        self._exact = self._exact and known and self.blocks.matches(descriptor, 0, self.common)
        self.doubtful = False

    def is_twin_of(self, blocks: Blocks) -> bool:
        """Whether it lacks nothing but what was written since, all of it was read, and no name but ours leads to it."""
        found, _ = self.look()
        if self.blocks.origin is not blocks.origin or found is None or not self.only_grew(found):
            return False
        return found.size == self.read_to and not self.has_other_names()
