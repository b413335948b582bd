"""Fixtures: both clients, at a real server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from avocet_client import CorrectionsClient
from avocet_client.testing import Service
from avocet_client.testing.aio_channel import AsyncChannel
from tests.client.drivers import Blocking
from tests.support import SECRET, Json, Server

Make = Callable[..., Any]


class Start(Protocol):
    """Starts a service with candidates and runs (a list of lines by its id), and returns a client of it."""

    def __call__(self, *candidates: Json, **runs: list[Any]) -> Any: ...

    def add(self, *candidates: Json) -> None:
        """Append candidates to the service's files, as another program does; approved ones to both."""


class _Starter:
    """A `Start` of one kind of service, with one kind of client."""

    def __init__(self, service: str, kind: str, directory: Path) -> None:
        self._is_memory, self._kind = service == "memory", kind
        self._server, self._service = Server(directory), Service(secret=SECRET)
        self._made: list[Any] = []

    def __call__(self, *candidates: Json, **runs: list[Any]) -> Any:
        self._made.append((self._memory if self._is_memory else self._real)(candidates, runs))
        return self._made[-1]

    def add(self, *candidates: Json) -> None:
        if self._is_memory:
            self._service.add(*candidates)
        else:
            self._append(candidates)

    def close(self) -> None:
        for client in self._made:
            client.close()
        self._server.kill()

    def _memory(self, candidates: Sequence[Json], runs: dict[str, list[Any]]) -> Any:
        self._service = Service(candidates, secret=SECRET)
        for run_id, lines in runs.items():
            self._service.add_run(run_id, lines)
        sync = self._kind == "sync"
        return self._service.client() if sync else Blocking(AsyncChannel(self._service), token=SECRET)

    def _real(self, candidates: Sequence[Json], runs: dict[str, list[Any]]) -> Any:
        self._append(candidates)
        for run_id, lines in runs.items():
            (self._server.runs / run_id).mkdir()
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            file = self._server.runs / run_id / "sft_candidates.jsonl"
            file.write_text("".join(f"{text}\n" for text in texts))
        self._server.start().set_runs_directory()
        return (CorrectionsClient if self._kind == "sync" else Blocking)(self._server.address, token=SECRET)

    def _append(self, candidates: Sequence[Json]) -> None:
        approved = [each for each in candidates if each.get("status") == "approved"]
        for path, records in ((self._server.candidates, candidates), (self._server.approved, approved)):
            with path.open("a") as file:
                file.writelines(f"{json.dumps(each)}\n" for each in records)


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
    """Starts a service of either kind, and is closed at the end."""
    starter = _Starter(request.param, kind, tmp_path)
    yield starter
    starter.close()
