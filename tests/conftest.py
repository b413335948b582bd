"""Fixtures: a server of its own for each test that asks for one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import engines
from tests.postgres import Postgres
from tests.support import Server, record, write_records

with contextlib.suppress(ModuleNotFoundError):  # The trainers' environment has none.
    from hypothesis import HealthCheck, settings

    # How long an example takes is the machine's business: other tests run beside it.
    settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "files(what): about the shared files; left out if the servers have none")
    config.addinivalue_line("markers", "both_engines: also run at a server over PostgreSQL, whatever ENGINE is")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if (
        engines.ENGINE == engines.SQLITE
        and "engine" in metafunc.fixturenames
        and "both_engines" in marks
        and "files" not in marks
    ):
        metafunc.parametrize("engine", [engines.SQLITE, engines.POSTGRES])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items if engines.ENGINE == engines.POSTGRES else ():
        if (mark := item.get_closest_marker("files")) is not None:
            item.add_marker(pytest.mark.skip(reason=f"the servers have no files: {', '.join(mark.args)}"))


@pytest.fixture
def engine() -> str:
    """The engine of the test's server."""
    return engines.ENGINE


@pytest.fixture
def stopped_server(tmp_path: Path, engine: str) -> Iterator[Server]:
    """A server with empty directories, not started yet: for tests that lay out its files first."""
    server = Server(tmp_path, engine=engine)
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


@pytest.fixture(scope="session", autouse=True)
def _no_database_server_is_left() -> Iterator[None]:
    yield
    engines.remove_database_server()


@pytest.fixture(autouse=True)
def _databases_of_a_test_are_dropped() -> Iterator[None]:
    with engines.databases_dropped():
        yield


@pytest.fixture(scope="session")
def postgres() -> Postgres:
    """A PostgreSQL server for all tests of this process that ask for one."""
    return engines.database_server()


@pytest.fixture
def database() -> str:
    """The address of a database with the ledger's empty tables."""
    return engines.new_database()
