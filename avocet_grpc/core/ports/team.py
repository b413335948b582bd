"""The ledger as a team of reviewers needs it: records, claims, the history, lists and snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from avocet_grpc.core.ports.claims import ClaimReader, ClaimTable
from avocet_grpc.core.ports.examples import Examples
from avocet_grpc.core.ports.history import HistoryLog
from avocet_grpc.core.ports.ledger import Reader, Transaction
from avocet_grpc.core.ports.listing import Listing
from avocet_grpc.core.ports.pruning import Pruning
from avocet_grpc.core.ports.snapshots import SnapshotReader, SnapshotTable

T = TypeVar("T")


class TeamReader(Reader, Protocol):
    """One consistent view of the ledger, with a property for each noun."""

    @property
    def claims(self) -> ClaimReader:
        """The claims on candidates in review."""

    @property
    def examples(self) -> Examples:
        """The examples of exports, for a copy of them."""

    @property
    def listing(self) -> Listing:
        """Candidates of any status."""

    @property
    def log(self) -> HistoryLog:
        """The history of changes."""

    @property
    def snapshots(self) -> SnapshotReader:
        """Revisions with a name."""


class TeamTransaction(Transaction, TeamReader, Protocol):
    """One change of the ledger, with a property for each noun."""

    @property
    def claims(self) -> ClaimTable:
        """The claims on candidates in review."""

    @property
    def snapshots(self) -> SnapshotTable:
        """Revisions with a name."""

    @property
    def pruning(self) -> Pruning:
        """Pruning of old rows."""

    def apart(self, work: Callable[[TeamTransaction], T]) -> T:
        """Run `work` as a change of its own inside this one: with a revision of its own, all or nothing for itself.

        Raises what `work` raises; what it wrote is then undone, and this change goes on.
        """
