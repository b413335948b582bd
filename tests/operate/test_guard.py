"""What measures the service, or works in its background, may fail: calls are answered and work goes on."""

from __future__ import annotations

import asyncio

import pytest

from avocet_grpc.edge import call_context
from avocet_grpc.edge.interceptors.log import LogLayer
from avocet_grpc.telemetry import guard


def test_a_meter_that_fails_changes_no_answer() -> None:
    before = guard.failures["meter"]

    class Meter:
        def call_began(self, method: str) -> None:
            raise RuntimeError

        call_ended = call_began

    async def answer() -> str:
        return "answer"

    async def call() -> object:
        call_context.begin("/s/M", ())
        return await LogLayer(Meter()).around("/s/M", answer, None)  # type: ignore[arg-type]

    assert asyncio.run(call()) == "answer"
    assert guard.failures["meter"] - before == 2


def test_a_background_task_that_fails_is_counted_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RETRY_S", 0)
    rounds = 0

    async def look() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise asyncio.CancelledError
        raise RecursionError("of a parser")

    before = guard.failures["keeper of the test"]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(guard.keep("keeper of the test", look))
    assert (rounds, guard.failures["keeper of the test"] - before) == (3, 2)
