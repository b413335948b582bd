"""The budget of answers: who waits for room, and whose connection is closed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.ports.ledger import NoRoom
from avocet_grpc.edge import answers
from avocet_grpc.edge.answers import MAKING, PAGE, Answers

MB = 1 << 20


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**given: Any) -> None:
        asyncio.run(test(**given))

    return run


class Closed:
    """Stands in for the network: notes whose connection is closed."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    def __call__(self, peer: str) -> bool:
        self.peers.append(peer)
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "STALLED_S", 0.05)
    monkeypatch.setattr(answers, "PATIENCE_S", 1.0)
    monkeypatch.setattr(answers, "LOOK_EVERY_S", 0.01)


class Context:
    """The part of gRPC's context that the budget knows."""

    def add_done_callback(self, _: object) -> None:
        pass


@in_a_loop
async def test_a_call_that_is_still_worked_on_is_never_cut_off_for_another() -> None:
    closed = Closed()
    budget = Answers(20 * MB, closed)
    with budget.hold("ipv4:a:1") as busy, budget.hold("ipv4:b:1") as other:
        await busy.take(4 * MB)
        with pytest.raises(Overloaded):
            await other.take(4 * MB)
    assert closed.peers == []


@in_a_loop
async def test_answers_that_lie_unread_make_room_for_those_who_wait() -> None:
    closed = Closed()
    budget = Answers(20 * MB, closed)
    lying = budget.hold("ipv4:a:1")
    with lying:
        await lying.take(4 * MB)
        lying.hand_over(8 * MB, Context())
    with budget.hold("ipv4:b:1") as other:
        waiting = asyncio.create_task(other.take(4 * MB))
        while not closed.peers:
            await asyncio.sleep(0.01)
        assert closed.peers[0] == "ipv4:a:1"
        lying.give()
        await waiting
        assert budget.held == 4 * MB * MAKING


@in_a_loop
async def test_work_that_comes_upon_a_long_line_waits_for_room_and_is_done_again() -> None:
    budget = Answers(20 * MB, Closed())
    allowed: list[int] = []

    async def work(most: int) -> str:
        allowed.append(most)
        if most < 3 * MB:
            raise NoRoom(3 * MB)
        assert budget.held == 3 * MB * MAKING
        return "done"

    with budget.hold("ipv4:a:1") as hold:
        assert await hold.work(work) == "done"
    assert allowed == [PAGE, 3 * MB] and budget.held == 0
