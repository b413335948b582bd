"""Fixtures: a server of its own for each test that asks for one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.postgres import Postgres, started
from tests.support import Server, record, write_records

with contextlib.suppress(ModuleNotFoundError):  # The trainers' environment has none.
    from hypothesis import HealthCheck, settings

    # How long an example takes is the machine's business: other tests run beside it.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")


@pytest.fixture
def stopped_server(tmp_path: Path) -> Iterator[Server]:
    """A server with empty directories, not started yet: for tests that lay out its files first."""
    server = Server(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def server(stopped_server: Server) -> Server:
    """A running server without any records."""
    return stopped_server.start()


@pytest.fixture(scope="module")
def quiet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One running server for a module's refused calls, with the candidate `a` in review; nothing may change it."""
    server = Server(tmp_path_factory.mktemp("quiet"))
    write_records(server.candidates, [record("a")])
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of this process that ask for one."""
    yield from started()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The address of a database with the ledger's empty tables."""
    url = postgres.new_database()
    yield url
    postgres.drop(url)
