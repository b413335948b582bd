"""Callers who change things at several servers, note what was acknowledged, and check it at the end."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from tests.cluster.support import ids
from tests.rpc.test_ingest import request
from tests.support import Server, bearer, eventually, failure_of_error

DEADLINE_S = 60.0
AGAIN_EACH = 5
"""Of so many candidates one is undone, and decided again."""
PAUSE_S = 0.1
LEVEL_S = 600.0
"""How long the files may take to be level with a store of 100,000 records."""

INGEST, UNDO, CORRECT = pb.CHANGE_ACTION_INGEST, pb.CHANGE_ACTION_UNDO, pb.CHANGE_ACTION_CORRECT
Acknowledged = tuple[str, int]
"""The id and the action of a change."""


@dataclass
class Callers:
    """Threads that make one change after another.

    Each other thread gives request ids, and repeats a call at the next server until it is answered. The rest give none:
    if such a call ends as STORAGE_UNREACHABLE, nobody knows what became of it, and `unknown` counts it. `refused` holds
    every other error: the calls are correct, so only a store that has lost something refuses one.
    """

    servers: list[Server]
    acknowledged: list[Acknowledged] = field(default_factory=list)
    undecided: set[str] = field(default_factory=set)
    unreachable: int = 0
    unknown: int = 0
    refused: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def calling(self, threads: int) -> Iterator[None]:
        """Call with so many threads meanwhile. At the end every call has been answered."""
        running = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in running:
                thread.join(2 * DEADLINE_S)
        assert not any(thread.is_alive() for thread in running)

    def wait_for(self, count: int) -> None:
        """Wait until so many changes were acknowledged, for as long as some are; fails if one was refused."""
        seen, since = -1, time.monotonic()
        while (now := len(self.acknowledged)) < count:
            assert self.refused == []
            seen, since = (now, time.monotonic()) if now > seen else (seen, since)
            assert time.monotonic() - since < 3 * DEADLINE_S, f"no change was acknowledged after {now}"
            time.sleep(0.01)

    def _call(self, caller: int) -> None:
        for number in itertools.count():
            if self._ended.is_set():
                return
            try:
                if caller % 2:
                    self._change_once(caller, number)
                else:
                    self._change(caller, number)
            except grpc.RpcError as error:
                self.refused.append(f"{failure_of_error(error)}")

    def _change_once(self, caller: int, number: int) -> None:
        server = self.servers[(caller // 2) % len(self.servers)]
        sent = request(prompt=f"{caller}.{number}")
        try:
            answer = server.stub.Ingest(sent, timeout=DEADLINE_S, metadata=bearer())
        except grpc.RpcError as error:
            if not is_unreachable(error):
                raise
            self.unreachable += 1
            self.unknown += 1
        else:
            self.acknowledged.append((answer.id, INGEST))

    def _change(self, caller: int, number: int) -> None:
        name = secrets.token_hex(8)
        sent = request(prompt=f"{caller}.{number}", request_id=name)
        id = self._ask(caller, lambda server: server.stub.Ingest(sent, timeout=DEADLINE_S, metadata=bearer())).id
        self.acknowledged.append((id, INGEST))
        if number % AGAIN_EACH:
            return
        undo = pb.UndoRequest(id=id, request_id=f"{name}-undo")
        self._ask(caller, lambda server: server.stub.Undo(undo, timeout=DEADLINE_S))
        self.acknowledged.append((id, UNDO))
        if number % (2 * AGAIN_EACH):
            self.undecided.add(id)
            return
        decision = pb.SubmitRequest(
            id=id, action=pb.ACTION_CORRECT, corrected_response="better", request_id=f"{name}-again"
        )
        self._ask(caller, lambda server: server.stub.Submit(decision, timeout=DEADLINE_S))
        self.acknowledged.append((id, CORRECT))

    def _ask(self, caller: int, call: Callable[[Server], Any]) -> Any:
        for attempt in itertools.count(caller // 2):
            try:
                return call(self.servers[attempt % len(self.servers)])
            except grpc.RpcError as error:
                if not is_unreachable(error):
                    raise
                self.unreachable += 1
                self._ended.wait(PAUSE_S)


def is_unreachable(error: grpc.RpcError) -> bool:
    return failure_of_error(error).reason == "STORAGE_UNREACHABLE"


def history(server: Server) -> Iterable[Acknowledged]:
    """The changes that the store knows of."""
    token = ""
    while True:
        page = server.stub.ListHistory(pb.ListHistoryRequest(page_size=500, page_token=token, oldest_first=True))
        yield from ((change.id, change.action) for change in page.changes)
        token = page.next_page_token
        if not token:
            return


@dataclass
class Judged:
    """What became of acknowledged changes: those that the store has lost, and those that it has and nobody made."""

    lost: list[Acknowledged]
    surplus: list[Acknowledged]

    @classmethod
    def of(cls, callers: Callers, server: Server) -> Judged:
        """Compare with the store's history, after the last call."""
        wanted, found = Counter(callers.acknowledged), Counter(history(server))
        return cls([*(wanted - found).elements()], [*(found - wanted).elements()])


def assert_nothing_is_lost_or_doubled(callers: Callers, keeper: Server, other: Server) -> None:
    """History, counts and exports at `other`, and the files that `keeper` keeps, are what the callers were told."""
    judged = Judged.of(callers, other)
    assert (callers.refused, judged.lost) == ([], [])
    assert len(judged.surplus) <= callers.unknown
    made = {id for id, _ in callers.acknowledged + judged.surplus}
    approved = made - callers.undecided
    stats = other.stats()
    assert (stats.total, stats.export_ready) == (len(made), len(approved))
    exported = [one.id for batch in other.stub.StreamExport(pb.StreamExportRequest()) for one in batch.examples]
    assert Counter(exported) == Counter(approved)
    # After a failover the keeper compares both files with the store.
    eventually(lambda: Counter(ids(keeper.approved)) == Counter(approved), within=LEVEL_S)
    eventually(lambda: Counter(ids(keeper.candidates)) == Counter(made), within=LEVEL_S)
