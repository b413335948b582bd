"""A database of the tests that is brought back as it was, in each way in which an operator may do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.postgres import Postgres
from tests.support import eventually

WITHIN = 60.0
TABLES = "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public'"


def soon(look: Callable[[], Any]) -> Any:
    """What `look` gives once it is true; a connection that a restore has broken is an error of a call."""

    def tried() -> Any:
        try:
            return look()
        except Exception:
            return None

    return eventually(tried, within=WITHIN)


class Backup:
    """What a database has now, as a dump that is restored over it."""

    def __init__(self, postgres: Postgres, url: str) -> None:
        self.postgres, self.name = postgres, url.rpartition("/")[2]
        self._at = ("-h", "127.0.0.1", "-p", postgres.port, "-U", "avocet")
        self._dump = postgres.directory / f"{self.name}.dump"
        self.take()

    def take(self) -> None:
        self.postgres.run("pg_dump", "-Fc", "-f", self._dump, *self._at, self.name)

    def restore(self) -> None:
        self.restored("--clean", "--if-exists", "-1")

    def restored(self, *how: str) -> None:
        self.postgres.run("pg_restore", "-d", self.name, *how, *self._at, self._dump)

    def drop(self) -> None:
        self.postgres.execute(f"DROP DATABASE {self.name} WITH (FORCE)")


class IntoNewDatabase(Backup):
    def restore(self) -> None:
        self.drop()
        self.postgres.execute(f"CREATE DATABASE {self.name}")
        self.restored()


class RowsAlone(Backup):
    def restore(self) -> None:
        ((tables,),) = self.postgres.execute(TABLES, self.name)
        self.postgres.execute(f"TRUNCATE {tables}", self.name)
        self.restored("--data-only", "-1")


class Copy(Backup):
    """A copy of the whole database, which takes its place."""

    def take(self) -> None:
        self._may_connect(False)
        self.postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'")
        soon(lambda: self.postgres.execute(f"CREATE DATABASE {self.name}_copy TEMPLATE {self.name}") == [])
        self._may_connect(True)

    def restore(self) -> None:
        self.drop()
        self.postgres.execute(f"ALTER DATABASE {self.name}_copy RENAME TO {self.name}")

    def _may_connect(self, may: bool) -> None:
        self.postgres.execute(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS {str(may).lower()}")


WAYS = (Backup, IntoNewDatabase, RowsAlone, Copy)
