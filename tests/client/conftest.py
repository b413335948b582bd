"""Fixtures: both clients, at a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_client import CorrectionsClient
from avocet_client.testing import Service
from avocet_client.testing.aio_channel import AsyncChannel
from tests.client.drivers import Blocking
from tests.support import SECRET, Json, Server, write_records

Make = Callable[..., Any]
Start = Callable[..., Any]


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


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["server", "memory"])
def start(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Iterator[Start]:
    """Starts a service with these candidates and runs, and returns a client of it."""
    server = Server(tmp_path)
    made: list[Any] = []

    def memory(candidates: list[Json], runs: dict[str, list[Any]]) -> Any:
        service = Service(candidates, secret=SECRET)
        for run_id, lines in runs.items():
            service.add_run(run_id, lines)
        return service.client() if kind == "sync" else Blocking(AsyncChannel(service), token=SECRET)

    def real(candidates: list[Json], runs: dict[str, list[Any]]) -> Any:
        write_records(server.candidates, candidates)
        for run_id, lines in runs.items():
            (server.runs / run_id).mkdir()
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            (server.runs / run_id / "sft_candidates.jsonl").write_text("".join(f"{text}\n" for text in texts))
        server.start().set_runs_directory()
        return (CorrectionsClient if kind == "sync" else Blocking)(server.address, token=SECRET)

    def begin(*candidates: Json, **runs: list[Any]) -> Any:
        made.append((memory if request.param == "memory" else real)(list(candidates), runs))
        return made[-1]

    yield begin
    for client in made:
        client.close()
    server.kill()
