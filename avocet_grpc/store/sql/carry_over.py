"""What a ledger takes from another one that is given up."""

from __future__ import annotations

from collections.abc import Iterable

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Changed
from avocet_grpc.core.record import parse
from avocet_grpc.store.sql.transaction import SqlTransaction


def carry_over(tx: SqlTransaction, file: File, changes: Iterable[Changed]) -> None:
    """Changes that had not reached the file: make its records what they were in the other ledger."""
    for changed in changes:
        if changed.raw is None:
            tx.remove(file, changed.id, changed.source)
            continue
        standing = tx.standing(file, changed.id)
        if standing is None or standing.digest != changed.digest:
            tx.put(file, parse(changed.raw), changed.source)
