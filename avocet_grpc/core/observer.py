"""What the parts report of themselves, for whoever measures; they know nothing of how."""

from __future__ import annotations


class Observer:
    """Told what happens, in the thread where it happens, so it MUST return at once. This one does nothing."""

    def committed(self, changes: int, sync_seconds: float) -> None:
        """One commit made `changes` durable; writing it to the disk took `sync_seconds`."""

    def reconciled(self, accepted: int, undone: int) -> None:
        """Others' edits of the shared files: so many became ours, so many were undone."""

    def files_level(self, level: bool) -> None:
        """One look at the shared files has ended: they hold all that was acknowledged before it, or not."""

    def pruned(self, rows: int) -> None:
        """One step of pruning deleted so many rows of the ledger."""


SILENT = Observer()
