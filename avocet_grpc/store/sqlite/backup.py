"""A copy of a ledger that may be in use."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from avocet_grpc.core.errors import StorageFailed
from avocet_grpc.store.sqlite.integrity import (
    LedgerDamaged,
    LedgerUnusable,
    refuse_if_inconsistent,
    refuse_if_not_as_left,
)
from avocet_grpc.store.sqlite.opening import RESTORED, version_of

PAGES = 4_096


def copy_ledger(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    """Copy the ledger as it is at one moment, marked so that its first start begins a new incarnation.

    A damaged one is refused: its copy would have no seal, and could pass for a sound one. Raises StorageFailed,
    LedgerDamaged, OSError. `progress` is told how many pages are done, and of how many.
    """
    refuse_if_not_as_left(source)
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as old,
            closing(sqlite3.connect(target, isolation_level=None)) as new,
        ):
            # Within one read the copy does not begin again when a server writes.
            old.execute("BEGIN")
            if version_of(old) is None:
                raise LedgerUnusable("it is empty")
            old.backup(new, pages=PAGES, progress=lambda _, left, total: progress(total - left, total))
            refuse_if_inconsistent(source, new)
            new.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, 1)", (RESTORED,))
            new.execute("PRAGMA journal_mode = DELETE")
    except LedgerDamaged:
        raise
    except (sqlite3.Error, LedgerUnusable) as error:
        raise StorageFailed(
            f"the ledger {source} cannot be copied: {error}; look at it with avocet-grpc verify"
        ) from error
