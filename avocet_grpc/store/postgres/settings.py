"""Settings of the database on which the service's promises rest."""

from __future__ import annotations

from avocet_grpc.store.postgres.connect import Connection, DatabaseUnusable

NEEDED = ("fsync", "full_page_writes", "synchronous_commit")
LEAST_VERSION = 140_000
ONE_MACHINE = (
    "the database has no synchronous standby: a change is on one machine when it is acknowledged, and a failover to"
    " another one may lose it"
)
NOT_WAITED_FOR = (
    "the database runs with synchronous_commit = local, so that no commit waits for the standby that"
    " synchronous_standby_names names: a change is on one machine when it is acknowledged, and a failover to another"
    " one may lose it; set synchronous_commit to on"
)


class UnsafeDatabase(DatabaseUnusable):
    """The database would lose changes that were acknowledged; the text says which setting to change."""


def refuse_if_unfit(connection: Connection) -> None:
    """Raise UnsafeDatabase if the database cannot have the tables."""
    if connection.info.server_version < LEAST_VERSION:
        raise UnsafeDatabase("the database must be PostgreSQL 14 or newer")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnsafeDatabase(f"the database's encoding is {encoding}; make one with ENCODING 'UTF8'")


def refuse_if_unsafe(connection: Connection) -> str | None:
    """Look at the settings. Returns what to warn of. Raises UnsafeDatabase, psycopg.Error."""
    for name in NEEDED:
        if _setting(connection, name) == "off":
            raise UnsafeDatabase(f"the database runs with {name} = off, which loses changes in a crash; switch it on")
    if not _setting(connection, "synchronous_standby_names"):
        return ONE_MACHINE
    return NOT_WAITED_FOR if _setting(connection, "synchronous_commit") == "local" else None


def _setting(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT coalesce(current_setting(%s, true), '')", [name]).fetchone()
    return str(row[0]) if row else ""
