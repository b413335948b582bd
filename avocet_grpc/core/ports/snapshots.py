"""What the core asks of the ledger about snapshots: revisions with a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A revision with a name. `number` orders snapshots by creation; the ledger gives it. `created_at` is ISO 8601."""

    name: str
    revision: int
    note: str
    created_by: str
    created_at: str
    example_count: int
    number: int = 0


class SnapshotReader(Protocol):
    """The snapshots in one consistent view of the ledger."""

    def find(self, name: str) -> Snapshot | None:
        """Return the snapshot of this name."""

    def page(self, before: int | None, limit: int) -> list[Snapshot]:
        """Return at most `limit` snapshots, newest first; those with a number below `before` if it is given."""

    def count(self) -> int:
        """Return how many snapshots there are."""

    def oldest_resumable(self) -> int:
        """Return the oldest revision at which an export that began earlier may be continued."""

    def pins(self, revision: int) -> bool:
        """Return True if a snapshot keeps this revision, or one did until less than 7 days ago."""


class SnapshotTable(SnapshotReader, Protocol):
    """Snapshots inside one change of the ledger. They change no revision."""

    def add(self, snapshot: Snapshot) -> None:
        """Store a snapshot whose name is free. What an export of its revision needs MUST be kept from then on."""

    def remove(self, name: str) -> None:
        """Free the name. What the snapshot kept MUST be kept for 7 days more."""
