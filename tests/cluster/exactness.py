"""What must hold while several servers write to one database, checked through their RPCs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.rpc.test_ingest import request
from tests.support import Server, bearer

SIZES = (3, 40, 500)


@dataclass
class Pin:
    """An export at a revision, as it was read first."""

    revision: int
    found: list[bytes]


@dataclass
class Writers:
    """Threads that write through all servers, one correction for each of `wanted`, until `stop` is set.

    `acknowledged` are the ids that they were given. `wanted` is released beside the checks, so that these keep up.
    """

    servers: list[Server]
    wanted: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(50))
    stop: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[str] = field(default_factory=list)
    undone: set[str] = field(default_factory=set)
    errors: list[Exception] = field(default_factory=list)

    def write(self, server: Server, number: int) -> None:
        """Ingest, and undo each fifth."""
        try:
            count = 0
            while not self.stop.is_set():
                if not self.wanted.acquire(timeout=0.1):
                    continue
                sent = request(prompt=f"{number}.{count}", task_type=f"t{number % 3}")
                id = server.stub.Ingest(sent, metadata=bearer()).id
                self.acknowledged.append(id)
                if count % 5 == 4:
                    server.stub.Undo(pb.UndoRequest(id=id))
                    self.undone.add(id)
                count += 1
        except Exception as error:
            self.errors.append(error)

    @contextmanager
    def writing(self, threads: int) -> Iterator[None]:
        """Write with so many threads at each server meanwhile."""
        places = [(server, n) for n, server in enumerate(self.servers * threads)]
        running = [threading.Thread(target=self.write, args=place) for place in places]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in running:
                thread.join(60)


def exported(server: Server, **fields: Any) -> tuple[int, list[bytes]]:
    """The revision of an export, and its examples."""
    answers = list(server.stub.StreamExport(pb.StreamExportRequest(**fields)))
    return answers[0].revision, [example.SerializeToString() for answer in answers for example in answer.examples]


def pin(server: Server, number: int) -> Pin:
    """Export as it is now."""
    return Pin(*exported(server, batch_size=SIZES[number % len(SIZES)]))


def changed(pins: list[Pin], servers: list[Server]) -> list[int]:
    """The revisions whose export is not what it was, read again at another server in batches of another size."""
    wrong = []
    for number, one in enumerate(pins, 1):
        server = servers[number % len(servers)]
        again = exported(server, at_revision=one.revision, batch_size=SIZES[number % len(SIZES)])[1]
        wrong += [one.revision] if again != one.found else []
    return wrong


class Follower:
    """Reads what is new since the last revision, again and again; `seen` are the ids of approved examples."""

    def __init__(self, server: Server, since: int) -> None:
        self._server, self.revision = server, since
        self.seen: list[str] = []

    def look(self) -> None:
        """Read what is new."""
        request = pb.StreamExportRequest(since_revision=self.revision)
        for answer in self._server.stub.StreamExport(request):
            self.seen += [example.id for example in answer.examples]
            self.revision = max(self.revision, answer.revision)


def out_of_order(rows: list[tuple[int, int]]) -> int:
    """How many keys are smaller than one of an earlier revision; `rows` are (revision, key) by revision."""
    highest, wrong = 0, 0
    for _, key in sorted(rows):
        wrong += key < highest
        highest = max(highest, key)
    return wrong
