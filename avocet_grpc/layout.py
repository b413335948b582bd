"""The paths below the data directory that several rooms use, and nothing else.

What one room alone makes beside them is named there: locks and the seal in `store/sqlite`, copies and displaced
files in `mirror/fs` and `mirror/displaced`, what a rebuild or a take-over puts aside in `maintenance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.core.model import File

PRIVATE = ".avocet"
"""The service's own directory below the data directory."""

LEDGER = "ledger.db"
INDEX = "mirror.db"
SEARCH = "search.db"
EXAMPLES = "examples"

SHARED_FILES = {File.CANDIDATES: "sft_candidates.jsonl", File.APPROVED: "sft_approved.jsonl"}
"""The names of the two files that other programs read, append to and rewrite."""


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths below one data directory."""

    root: Path

    @property
    def private(self) -> Path:
        """The service's own directory: no other program needs it."""
        return self.root / PRIVATE

    @property
    def ledger(self) -> Path:
        """The ledger's database."""
        return self.private / LEDGER

    @property
    def index(self) -> Path:
        """The mirror's index; it can be made again from the shared files and the ledger."""
        return self.private / INDEX

    @property
    def search(self) -> Path:
        """The index of texts, if the service has one; it can be made again from the ledger."""
        return self.private / SEARCH

    @property
    def examples(self) -> Path:
        """The examples as exports send them, a directory for each process; they can be made again from the ledger."""
        return self.private / EXAMPLES

    @property
    def running(self) -> Path:
        """Present while a server runs, and after one that did not stop cleanly."""
        return self.private / "running"

    @property
    def files_id(self) -> Path:
        """Says which ledger in a database the shared files belong to."""
        return self.private / "files_id"

    @property
    def owner(self) -> Path:
        """Names the process that holds the directory, for the message of a second one."""
        return self.private / "owner"

    @property
    def reserve(self) -> Path:
        """Room that is set aside for a start on a full disk."""
        return self.private / "reserve"

    def shared_file(self, file: File) -> Path:
        """Return one of the two shared files."""
        return self.root / SHARED_FILES[file]
