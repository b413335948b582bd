"""How every process opens the ledger."""

from __future__ import annotations

from collections.abc import Callable

from avocet_grpc.edge.convert.example import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.processes.bells import Bell, ring_all
from avocet_grpc.processes.messages import Begin
from avocet_grpc.store.sqlite.engine import SqliteLedger


def open_ledger(begin: Begin, on_failure: Callable[[], None]) -> SqliteLedger:
    """Return the ledger, which wakes the other processes after each commit.

    Raises LedgerUnusable, StorageFull, OSError.
    """
    settings = begin.settings
    ledger = SqliteLedger(
        DataDirectory(settings.data_dir), encode=encode_example, waiting=settings.limits.waiting_writes
    )
    bells = [Bell(descriptor) for descriptor in begin.others]
    ledger.on_commit(lambda: ring_all(bells))
    ledger.on_failure(on_failure)
    return ledger
