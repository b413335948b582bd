"""How every process opens the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from avocet_grpc.edge.convert.example import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.processes.bells import Bell, ring_all
from avocet_grpc.processes.messages import Begin
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.integrity import LedgerUnusable
from avocet_grpc.wording import NEEDS_DRIVER

if TYPE_CHECKING:
    # Loaded only if the ledger is in a database.
    from avocet_grpc.store.postgres.engine import PostgresLedger


def open_ledger(begin: Begin, on_failure: Callable[[], None]) -> SqliteLedger | PostgresLedger:
    """The ledger, which wakes the other processes after each commit. Raises LedgerUnusable, StorageFull, OSError."""
    settings = begin.settings
    ledger: SqliteLedger | PostgresLedger
    if not settings.is_shared:
        ledger = SqliteLedger(
            DataDirectory(settings.data_dir), encode=encode_example, waiting=settings.limits.waiting_writes
        )
    else:
        ledger = _in_database(begin)
    bells = [Bell(descriptor) for descriptor in begin.others]
    ledger.on_commit(lambda: ring_all(bells))
    ledger.on_failure(on_failure)
    return ledger


def _in_database(begin: Begin) -> PostgresLedger:
    try:
        from avocet_grpc.store.postgres.connect import DatabaseUnusable
        from avocet_grpc.store.postgres.engine import PostgresLedger
    except ImportError as error:
        raise LedgerUnusable(NEEDS_DRIVER) from error
    settings = begin.settings
    try:
        # One process warns, once, of what the database cannot promise.
        return PostgresLedger(
            settings.store, encode_example, waiting=settings.limits.waiting_writes, warns=begin.name.endswith(" 0")
        )
    except DatabaseUnusable as error:
        raise LedgerUnusable(str(error)) from error
