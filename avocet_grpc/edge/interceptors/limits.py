"""How many calls at once, and how long each: the innermost layer, where the request is received, too."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from avocet_grpc.core.errors import CallTooLong, Overloaded
from avocet_grpc.edge.answers import Answers
from avocet_grpc.edge.arrivals import Arrivals
from avocet_grpc.edge.call_context import principal
from avocet_grpc.edge.interceptors.wrap import Call, Context, Handler, Layer, reading_inside, wrap
from avocet_grpc.edge.message_limits import HEALTH, Sizes
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.settings import Limits

WATCH = "/avocet.corrections.v1.CorrectionsService/Watch"


class Room:
    """How many calls of a kind may be under way, in all and of one caller, and how many are."""

    def __init__(self, most: int, most_per_caller: int) -> None:
        self._most, self._most_per_caller = most, most_per_caller
        self._taken = 0
        self._of_caller: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """A place for one call of `caller`. Raises Overloaded."""
        if self._taken >= self._most:
            raise Overloaded("too many calls at once")
        if self._of_caller[caller] >= self._most_per_caller:
            raise Overloaded("too many calls of one caller")
        self._taken += 1
        self._of_caller[caller] += 1
        try:
            yield
        finally:
            self._taken -= 1
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]


class LimitLayer(Layer):
    """Refuses the call that is one too many or too late, and ends the one that takes too long.

    Health is never refused: a busy server is not a dead one. Its Watch lasts as long as its connection. Calls of our
    Watch are counted for themselves: they mostly wait.
    """

    def __init__(self, gate: Gate, limits: Limits) -> None:
        self._gate, self._limits = gate, limits
        self._answers = answers = Answers(limits.answer_bytes_under_way)
        self._arrivals = Arrivals(limits.bytes_under_way, lambda: answers.held)
        self._calls = Room(limits.calls, limits.calls_per_caller)
        self._watches = Room(limits.watches, limits.watches)

    def wrapped(self, method: str, handler: Handler) -> Handler:
        limits = self._limits
        reading = reading_inside(handler, self._arrivals, self._answers, Sizes(method, limits.message_bytes))
        if method.startswith(HEALTH):
            return reading
        streaming = handler.request_streaming or handler.response_streaming
        room = self._watches if method == WATCH else self._calls
        seconds = limits.stream_seconds if streaming else limits.call_seconds
        return wrap(reading, partial(self._limited, room, seconds))

    async def _limited(self, room: Room, seconds: float, call: Call, context: Context) -> Any:
        self._gate.enter()
        with room.place(principal() or _host(context.peer())):
            try:
                async with asyncio.timeout(seconds) as limit:
                    return await call()
            except TimeoutError as error:
                if limit.expired():
                    raise CallTooLong from error
                raise


def _host(peer: str) -> str:
    """Return the peer without its port: one machine is one caller, however many connections it has."""
    return peer.rpartition(":")[0]
