"""What exports ask of a ledger, beside what all calls do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from avocet_grpc.core.model import ExportBatch, ExportSelection
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.core.ports.team import TeamReader

T = TypeVar("T")


class ExportBatches(Protocol):
    """What exports send."""

    def export_batch(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        """Return the next examples of the selection after `after_key`, joined, in the order of approval.

        None at the end. At most `limit` examples and `max_bytes`, but a larger example comes alone. MUST answer alike
        for the same selection, whatever is committed later.
        """


class ExportReader(ExportBatches, TeamReader, Protocol):
    """One consistent view of the ledger, with what exports send."""

    def export_total(self, selection: ExportSelection, after_key: int) -> int:
        """Return how many examples `export_batch` gives in all after `after_key`."""


class ExportingLedger(Ledger, Protocol):
    """A ledger whose readers know what exports send."""

    def read(self, work: Callable[[ExportReader], T]) -> T:
        """See `Ledger`."""

    def read_batches(self, work: Callable[[ExportBatches], T]) -> T:
        """As `read`, for a work that asks for batches alone: a view of the ledger is opened only if they need one."""
