"""The ledger alone, without gRPC: how many corrections a second it takes. `python -m tests.bench.ledger SECONDS`."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from avocet_grpc.core.ingest import ingest
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.edge.parse import correction
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.bench.stage import ingestion

GROUP = 256


def rate(seconds: float) -> float:
    """Durable corrections a second, in groups of 256."""
    work = partial(ingest, correction=correction(ingestion()))
    with tempfile.TemporaryDirectory() as directory:
        ledger = SqliteLedger(DataDirectory(Path(directory)), encode_example)
        started, stored = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            ledger.write_all([work] * GROUP).result()
            stored += GROUP
        ledger.close()
    return stored / elapsed


if __name__ == "__main__":
    print(rate(float(sys.argv[1])))
