"""The service's configuration in the database, so that it is the same at every server."""

from __future__ import annotations

from typing import NamedTuple

import psycopg

from avocet_grpc.core.errors import StorageUnreachable
from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.failure import Meaning, meaning, refusal, text_of
from avocet_grpc.store.postgres.readers import Readers
from avocet_grpc.store.postgres.session import PostgresSession

BENCH_RESULTS_DIR = "bench_results_dir"
GET = "SELECT value FROM settings WHERE name = :name"
SET = "INSERT INTO settings (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class _Setting(NamedTuple):
    value: str


class StoredConfig:
    """Implements `core.ports.config.ConfigFile`. Every method raises StorageUnreachable, StorageFull or Overloaded."""

    def __init__(self, url: str, readers: Readers) -> None:
        self._url, self._readers = url, readers

    def bench_results_dir(self) -> str:
        """Return the directory of the benchmark runs; empty if nobody has set it."""
        return self.stored() or ""

    def stored(self) -> str | None:
        """Return the same; None if nobody has set it."""
        return self._readers.read(_stored)

    def set_bench_results_dir(self, value: str) -> None:
        """Change it for all servers."""
        try:
            with connect(self._url) as db:
                db.execute(SET, [BENCH_RESULTS_DIR, value])
        except psycopg.Error as error:
            if meaning(error) is Meaning.REFUSED:
                raise refusal(error) from error
            raise StorageUnreachable(f"the database cannot be reached: {text_of(error)}") from error


def _stored(session: PostgresSession) -> str | None:
    row = session.one(_Setting, GET, {"name": BENCH_RESULTS_DIR})
    return None if row is None else row.value
