"""What the core asks of the ledger's history: who changed what, and when."""

from __future__ import annotations

from typing import Protocol

from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry


class HistoryLog(Protocol):
    """The history in one consistent view of the ledger. MUST be complete: a visible commit hides no earlier one."""

    def floor(self) -> int:
        """Return the revision after which every change is kept: earlier ones were pruned, or are of another ledger."""

    def entries(
        self, after: HistoryCursor | None, limit: int, *, id: str = "", newest_first: bool = False, values: bool = False
    ) -> list[HistoryEntry]:
        """Return at most `limit` entries after `after` in the order asked for; `after` None begins at its end.

        `id` "" means the whole store. Without `values`, `change` MAY lack everything but its names.
        With them fewer come, but at least one, once they are full (`core.model.PAGE_BYTES`).
        """
