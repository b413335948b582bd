"""From a URL to a connection."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from avocet_grpc.store.postgres import adapters
from avocet_grpc.store.postgres.silence import HeedfulConnection

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMES = ("postgres://", "postgresql://")
NOT_VALID = "the store is not a valid URL: it must be postgres://USER@HOST[,HOST]/DATABASE"

# Without them a primary that lost power holds a COMMIT for minutes.
DEFAULTS: dict[str, Any] = {
    "application_name": "avocet-grpc",
    "connect_timeout": 3,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,
    "target_session_attrs": "read-write",
    "client_encoding": "utf8",
}
# Joins are written in the order in which they are to be made, each row by an index, and an index gives the order in
# which rows are asked for. Statistics may be old: by those of an empty store, sorting or scanning a table costs little.
PLANS = (
    "SET join_collapse_limit = 1; SET enable_mergejoin = off; SET enable_hashjoin = off; SET jit = off;"
    " SET enable_sort = off; SET enable_bitmapscan = off; SET enable_seqscan = off; SET random_page_cost = 1.1;"
    " SET TimeZone = 'UTC'"
)
WITHOUT_LIMITS = (
    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN"
    " ('statement_timeout', 'transaction_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout')"
)
"""No time limit of the role or database may end a long copy, or cut off a commit that waits for a standby: it would be
stored on one machine, and visible. Nor may one refuse the head to a server that looks what became of such a commit.
"""
HOLDER = "SET idle_in_transaction_session_timeout = '5s'"
"""A writer that was paused must not keep the head from the others."""


class DatabaseUnusable(Exception):
    """The database cannot be used; the text says why and what to do, and shows no password."""


class NotAnAddress(DatabaseUnusable):
    """The URL is not a valid address of a database; the text says why, and does not show it."""


def is_address(store: str) -> bool:
    """Return True for the URL of a PostgreSQL database."""
    return store.startswith(SCHEMES)


def shown(url: str) -> str:
    """Return the address without its password, for logs and messages. Raises NotAnAddress."""
    parts = _parts(url)
    hosts, ports = str(parts.get("host", "")).split(","), str(parts.get("port", "")).split(",")
    if len(ports) < len(hosts):
        # One port is that of all hosts.
        ports = ports[:1] * len(hosts)
    user = f"{parts['user']}@" if "user" in parts else ""
    places = ",".join(f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False))
    return f"postgres://{user}{places}/{parts.get('dbname', '')}"


def connect(url: str, *, holds_head: bool = False, heeds_limits: bool = False) -> Connection:
    """Return a connection in autocommit mode.

    With `heeds_limits`, which is for the reads of a running server, the time limits of the role or database hold.
    Raises NotAnAddress, psycopg.Error.
    """
    given = _parts(url)
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # It warns of each pipeline that a broken connection ends.
    connection: Connection = HeedfulConnection.connect(make_conninfo("", **{**DEFAULTS, **given}), autocommit=True)
    try:
        adapters.register(connection.adapters)
        limits = () if heeds_limits else (WITHOUT_LIMITS, HOLDER) if holds_head else (WITHOUT_LIMITS,)
        connection.execute("; ".join((PLANS, *limits)))
    except BaseException:
        connection.close()
        raise
    return connection


def _parts(url: str) -> dict[str, Any]:
    if not is_address(url):
        raise NotAnAddress(NOT_VALID)
    authority, _, path = url.partition("://")[2].partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path:
        # A part of the password would be taken for the host or the database, and shown.
        raise NotAnAddress(f"{NOT_VALID}; write @ as %40 and / as %2F in a password")
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The text of the error shows the URL, which may hold a password.
        raise NotAnAddress(NOT_VALID) from None
