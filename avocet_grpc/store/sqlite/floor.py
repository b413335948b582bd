"""The lowest revision that a new ledger of this data directory may begin with.

It is kept beside the directory's content, in an extended attribute, so that it outlives the ledger: revisions only
grow, although the clock was set back or the private directory was deleted. A file system without extended attributes
has no floor; then the clock alone keeps revisions growing.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

ATTRIBUTE = "user.avocet.revision"
AHEAD = 1_000_000
"""The floor runs ahead of a ledger in use by one to two times this, so that a kill cannot undercut it."""


class RevisionFloor:
    """The floor of one data directory; None keeps none."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._kept = self.read()

    def read(self) -> int:
        """Return the floor as the directory has it; 0 if it has none, or none that can be read."""
        if self._directory is None:
            return 0
        try:
            return int(os.getxattr(self._directory, ATTRIBUTE))
        except (OSError, ValueError):
            return 0

    def run_ahead_of(self, revision: int) -> None:
        """The ledger is in use and has come to this revision: write a floor above it if the last one is near."""
        if revision + AHEAD > self._kept:
            self._write(revision + 2 * AHEAD)

    def settle(self, revision: int) -> None:
        """The ledger is closed at this revision."""
        self._write(revision)

    def _write(self, revision: int) -> None:
        before, self._kept = self._kept, revision
        if self._directory is None:
            return
        try:
            os.setxattr(self._directory, ATTRIBUTE, str(revision).encode("ascii"))
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                # A full disk will have room again: the next change tries.
                self._kept = before
