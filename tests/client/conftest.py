"""Fixtures: both clients, at a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_client import CorrectionsClient
from tests.client.drivers import Blocking
from tests.support import SECRET, Server

Make = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes a client of the kind under test; all are closed at the end."""
    kind: Any = {"sync": CorrectionsClient, "async": Blocking}[request.param]
    made: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> Any:
        made.append(kind(*args, **kwargs))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Make, server: Server) -> Any:
    """A client of the kind under test, with the token that ingest asks for."""
    return make_client(server.address, token=SECRET)
