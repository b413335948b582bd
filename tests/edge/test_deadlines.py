"""How long calls may take: one timer for all that may take equally long, and what an ended call tells its caller."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from avocet_grpc.core.errors import CallTooLong, CorrectionsError, Overloaded
from avocet_grpc.edge.arrivals import Arrivals, Incoming
from avocet_grpc.edge.interceptors.limits import Deadlines
from avocet_grpc.edge.unfinished import UnfinishedLines
from tests.support import PATIENCE_S

SOON_S = 0.01
BUDGET = 1 << 20


def incoming(arrivals: Arrivals) -> Incoming:
    """A call of the task that asks."""
    context: Any = None
    return arrivals.begin(BUDGET, bytes, context, "ipv4:127.0.0.1:1")


async def until_ended(deadlines: Deadlines, arrivals: Arrivals, caller: str = "one") -> CorrectionsError | None:
    """Make a call that never answers, and give what it was ended with."""
    call = incoming(arrivals)
    deadlines.watch(call, caller)
    try:
        await asyncio.sleep(PATIENCE_S)
    except asyncio.CancelledError:
        return call.reason()
    finally:
        deadlines.forget(call)
        call.close()
    return None


def test_each_call_that_takes_too_long_is_ended_however_many_there_are() -> None:
    async def calls() -> list[CorrectionsError | None]:
        deadlines, arrivals = Deadlines(SOON_S), Arrivals(BUDGET, UnfinishedLines())
        together = await asyncio.gather(*(until_ended(deadlines, arrivals) for _ in range(3)))
        return [*together, await until_ended(deadlines, arrivals)]

    assert [type(error) for error in asyncio.run(calls())] == [CallTooLong] * 4


def test_a_call_that_ended_in_time_does_not_keep_a_later_one_from_being_ended() -> None:
    async def calls() -> CorrectionsError | None:
        deadlines, arrivals = Deadlines(SOON_S), Arrivals(BUDGET, UnfinishedLines())
        first = incoming(arrivals)
        deadlines.watch(first, "somebody")
        deadlines.forget(first)
        ended = await until_ended(deadlines, arrivals)
        assert first.ended is None
        return ended

    assert isinstance(asyncio.run(calls()), CallTooLong)


def test_one_call_too_many_ends_the_oldest_of_the_caller_that_has_most() -> None:
    async def ended() -> list[int]:
        deadlines, arrivals = Deadlines(math.inf, 4), Arrivals(BUDGET, UnfinishedLines())
        calls: list[asyncio.Task[CorrectionsError | None]] = []
        found: list[int] = []
        for caller in ("modest", "greedy", "greedy", "greedy", "other", "greedy", "greedy"):
            calls.append(asyncio.create_task(until_ended(deadlines, arrivals, caller)))
            await asyncio.sleep(SOON_S)
            found += [number for number, one in enumerate(calls) if one.done() and number not in found]
        for one in calls:
            one.cancel()
        await asyncio.wait(calls)
        return found

    assert asyncio.run(ended()) == [1, 2, 3]


def test_a_call_tells_the_first_reason_for_which_it_was_ended() -> None:
    async def call() -> CorrectionsError | None:
        call = incoming(Arrivals(BUDGET, UnfinishedLines()))
        call.end(Overloaded("too many bytes under way"))
        call.end(CallTooLong())
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            return call.reason()
        return None

    assert isinstance(asyncio.run(call()), Overloaded)


def test_a_call_that_its_caller_cancelled_too_stays_cancelled() -> None:
    async def call() -> None:
        task, call = asyncio.current_task(), incoming(Arrivals(BUDGET, UnfinishedLines()))
        assert task is not None
        task.cancel()
        call.end(CallTooLong())
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            assert call.reason() is None
            raise

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(call())
