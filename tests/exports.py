"""What an export sends, for tests that have a ledger of an engine and no copy of its examples."""

from __future__ import annotations

from typing import Any

from avocet_grpc.core.ports.exports import ExportReader
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.store.examples.ledger import CopyReader
from avocet_grpc.store.examples.store import ExampleStore
from avocet_grpc.store.sql.room import check_room


def exports(reader: TeamReader) -> ExportReader:
    """The reader with what exports send, from a copy that is made for it alone."""
    return CopyReader(reader, ExampleStore(None, check_room))


def batch(ledger: Any, *asked: Any) -> Any:
    """`export_batch` of a ledger of an engine."""
    return ledger.read(lambda reader: exports(reader).export_batch(*asked))


def total(ledger: Any, *asked: Any) -> int:
    """`export_total` of a ledger of an engine."""
    return int(ledger.read(lambda reader: exports(reader).export_total(*asked)))
