"""What the parts report of themselves. They do not know who measures, or how."""

from __future__ import annotations


class Observer:
    """Told what happens, in the thread where it happens, so it MUST return at once. This one does nothing."""

    def committed(self, changes: int, sync_seconds: float) -> None:
        """One commit made `changes` durable; writing it to the disk took `sync_seconds`."""

    def reconciled(self, accepted: int, undone: int) -> None:
        """Other programs' edits of the shared files: how many were accepted, and how many undone."""

    def files_level(self, level: bool) -> None:
        """One look at the shared files has ended: they hold all that was acknowledged before it, or not."""

    def pruned(self, rows: int) -> None:
        """One step of pruning deleted `rows` rows of the ledger."""


SILENT = Observer()
