"""Turns: reads of very long lines follow one another, and the event loop goes round in between."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from avocet_grpc.core.ports.ledger import NoRoom
from avocet_grpc.edge.answers import HEAVY, Answers, Hold
from avocet_grpc.edge.turns import ROUNDS
from tests.edge.test_answers import MB, Context, in_a_loop


class Read:
    """Work that comes upon a line of `size` bytes, and then waits until it is told to end."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.failure: Exception | None = None
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, most: int) -> int:
        if most < self.size:
            raise NoRoom(self.size)
        self.began.set()
        await self.go_on.wait()
        if self.failure is not None:
            raise self.failure
        return self.size


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def begun(
    stack: ExitStack, budget: Answers, size: int, *, changes: bool = False
) -> tuple[Hold, Read, asyncio.Task[int]]:
    hold, read = stack.enter_context(budget.hold("ipv4:a:1")), Read(size)
    return hold, read, asyncio.create_task(hold.work(read) if changes else hold.read(read))


@in_a_loop
async def test_a_read_of_very_long_lines_begins_after_the_one_before_has_its_answer_and_the_loop_went_round() -> None:
    with ExitStack() as stack:
        budget = Answers(400 * MB)
        first, one, done = begun(stack, budget, HEAVY)
        _, two, _ = begun(stack, budget, HEAVY)
        await one.began.wait()
        one.go_on.set()
        assert await done == HEAVY
        await rounds(3 * ROUNDS)
        # What was read is not an answer yet.
        assert not two.began.is_set()
        first.hand_over(HEAVY, Context())
        await rounds(ROUNDS // 2)
        assert not two.began.is_set()
        await asyncio.wait_for(two.began.wait(), 10)
        two.go_on.set()


@in_a_loop
async def test_small_reads_and_changes_wait_for_no_turn() -> None:
    with ExitStack() as stack:
        budget = Answers(400 * MB)
        _, heavy, _ = begun(stack, budget, 2 * HEAVY)
        await heavy.began.wait()
        others = [begun(stack, budget, HEAVY // 4), begun(stack, budget, 2 * HEAVY, changes=True)]
        for _, read, done in others:
            await asyncio.wait_for(read.began.wait(), 10)
            read.go_on.set()
            await done
        heavy.go_on.set()


@pytest.mark.parametrize("end", ["fails", "is cancelled", "wants more"])
@in_a_loop
async def test_a_turn_ends_however_its_read_ends(end: str) -> None:
    with ExitStack() as stack:
        budget = Answers(400 * MB)
        hold, one, done = begun(stack, budget, HEAVY)
        _, two, last = begun(stack, budget, HEAVY)
        await one.began.wait()
        if end == "fails":
            one.failure = ValueError()
        elif end == "wants more":
            # The room for it is taken by the other, which needs the turn to end.
            one.failure = NoRoom(80 * MB)
        else:
            done.cancel()
        one.go_on.set()
        await rounds(2)
        if end != "wants more":
            hold.__exit__()
        await asyncio.wait_for(two.began.wait(), 10)
        two.go_on.set()
        assert await last == HEAVY
