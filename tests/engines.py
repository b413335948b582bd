"""Which engine the servers of the tests have: ENGINE=postgres gives each of them a database in place of its files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.postgres import Postgres, started

SQLITE, POSTGRES = "sqlite", "postgres"
ENGINE = os.environ.get("ENGINE", SQLITE)
SHARED = ("sft_candidates.jsonl", "sft_approved.jsonl")

_databases: list[str] = []


@cache
def database_server() -> Postgres:
    """The PostgreSQL server of this process of tests, started when it is first asked for."""
    return started()


def remove_database_server() -> None:
    """End it, if it was started."""
    if database_server.cache_info().currsize:
        database_server().remove()
        database_server.cache_clear()
        _databases.clear()


def new_database() -> str:
    """The address of a database with the ledger's empty tables."""
    _databases.append(database_server().new_database())
    return _databases[-1]


@contextmanager
def databases_dropped() -> Iterator[None]:
    """Drop what was made inside."""
    before = len(_databases)
    yield
    while len(_databases) > before:
        database_server().drop(_databases.pop())


def load(data: Path, url: str) -> None:
    """Take the shared files into an empty database, as a first start over them does; the files stay as they are."""
    from avocet_grpc.edge.convert.example import encode_example
    from avocet_grpc.mirror.fs.clock import Clock
    from avocet_grpc.mirror.fs.disk import Disk
    from avocet_grpc.mirror.mirror import Mirror
    from avocet_grpc.store.postgres.engine import PostgresLedger

    copy = data.parent / "loaded"
    copy.mkdir()
    for name in SHARED:
        if (data / name).exists():
            shutil.copyfile(data / name, copy / name)
    ledger = PostgresLedger(url, encode_example, warns=False)
    try:
        mirror = Mirror(ledger.mirror(), copy, Disk(), Clock())
        mirror.adopt()
        mirror.close()
    finally:
        ledger.close()
