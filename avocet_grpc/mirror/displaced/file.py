"""One file that a replacement moved aside."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from avocet_grpc.mirror.fs.block_digests import BlockDigests, Span
from avocet_grpc.mirror.fs.signature import Signature, end_before, signature
from avocet_grpc.mirror.index import DisplacedRow
from avocet_grpc.mirror.session import Session

LEVEL_AT = re.compile(r"\.at-([0-9]+)\.")
UNKNOWN_SIZE = 2**63 - 1
"""Noted of a file that somebody was rewriting: what comes behind its end is not news."""
MOST_BLANKED = 10_000
"""With more places to blank first, it does not serve again."""


class Displaced:
    """One displaced file. `noted` is what it was; None if the index knows nothing of it.

    `end` is the digest of what stood before the noted size. Its first `common` bytes had these `blocks`, and `blanked`
    are the places that were blanked of them since in the file that took its place. `grew`: it has grown since it was
    last compared with the blocks, which may hide an edit. It had all changes of ours up to the revision `level_at`.
    Until the monotonic time `rest_until`, a program that was half-way through it when it was displaced may go on.
    """

    def __init__(
        self,
        session: Session,
        path: Path,
        noted: DisplacedRow | None,
        end: str | None = None,
        blocks: BlockDigests | None = None,
        common: int = 0,
        grew: bool = False,
        rest_until: float = -math.inf,
    ) -> None:
        self._session = session
        self.path = path
        self.noted, self._end = noted, end
        self.blocks, self.common, self.grew = blocks, common, grew
        self._rest_until = rest_until
        self.blanked: tuple[Span, ...] = ()
        level_at = LEVEL_AT.search(path.name)
        self.level_at = int(level_at[1]) if level_at else 0
        self.read_to = noted.read_to if noted else 0
        self._exact = noted is not None and noted.size != UNKNOWN_SIZE
        self._seen: Signature | None = None
        self._still_since = session.clock.monotonic()

    def look(self) -> tuple[Signature | None, float]:
        """Return what it is now, and for how many seconds it has been still."""
        now, found = self._session.clock.monotonic(), signature(self._session.disk, self.path)
        if found != self._seen:
            if found is not None:
                self._judge(found)
            self._seen, self._still_since = found, now
        return found, now - self._still_since

    def _judge(self, found: Signature) -> None:
        """Decide whether a change is more lines at the end; any other makes it a file that is read as a whole."""
        before = self._seen.size if self._seen else self.noted.size if self.noted else 0
        if found.size > before:
            self.grew = self.grew or self.blocks is not None
            size = self.noted.size if self.noted else 0
            self._exact = self._exact and self._end == end_digest(self._session, self.path, size)
        elif self._seen is not None:
            self._exact = False

    @property
    def may_be_rest(self) -> bool:
        """Whether what a program writes to it now may be the rest of a rewrite."""
        return self._session.clock.monotonic() < self._rest_until

    def was_blanked(self, places: Sequence[Span], blocks: BlockDigests) -> None:
        """Those places were blanked in the file that has these blocks."""
        if self.blocks is not None and self.blocks.origin is blocks.origin and len(self.blanked) <= MOST_BLANKED:
            self.blanked = (*self.blanked, *places)

    def was_read(self, end: int) -> None:
        """It is read up to there, and the index knows."""
        self.read_to = max(self.read_to, end)

    def has_other_names(self) -> bool:
        """Return whether others reach it by a hard link, and may write to it at any time."""
        found = self._session.disk.stat(self.path)
        return found is not None and found.links > 1

    def only_grew(self, found: Signature) -> bool:
        """Return whether it is what was noted, and at most has more lines at its end."""
        noted = self.noted
        if noted is None or not self._exact:
            return False
        if (found.device, found.inode) != (noted.device, noted.inode) or found.size < max(noted.size, self.read_to):
            return False
        return found.size > noted.size or found.mtime_ns == noted.mtime_ns

    def settle(self, descriptor: int) -> None:
        """Look for what its growth may hide; if there is something, it has to be read as a whole. Raises OSError."""
        blocks, disk = self.blocks, self._session.disk
        known = blocks is not None and blocks.size == self.common and blocks.matches(disk, descriptor, 0, self.common)
        self._exact = self._exact and known
        self.grew = False

    def may_serve(self, blocks: BlockDigests) -> bool:
        """Return whether it lacks only what was written since, all of it was read, and no name but ours leads to it."""
        if self.blocks is None or self.blocks.origin is not blocks.origin or len(self.blanked) > MOST_BLANKED:
            return False
        found, _ = self.look()
        if found is None or not self.only_grew(found):
            return False
        return found.size == self.read_to and not self.has_other_names()


def end_digest(session: Session, path: Path, size: int) -> str:
    """Return the digest of the last 64 KB before that byte. Raises OSError."""
    return xxh3_64_hexdigest(end_before(session.disk, path, size))
