"""How many calls at once, and how long each: the innermost layer, where the request is received, too."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from typing import Any

from avocet_grpc.core.errors import CallTooLong, Overloaded
from avocet_grpc.edge.arrivals import Arrivals
from avocet_grpc.edge.call_context import principal
from avocet_grpc.edge.interceptors.wrap import Call, Context, Handler, Layer, reading_inside, wrap
from avocet_grpc.edge.message_limits import HEALTH, most_bytes
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.settings import Limits


class LimitLayer(Layer):
    """Refuses the call that is one too many or too late, and ends the one that takes too long.

    Health is never refused: a busy server is not a dead one. Its Watch lasts as long as its connection.
    """

    def __init__(self, gate: Gate, limits: Limits) -> None:
        self._gate, self._limits = gate, limits
        self._arrivals = Arrivals(limits.bytes_under_way)
        self._under_way = 0
        self._of_caller: Counter[str] = Counter()

    def wrapped(self, method: str, handler: Handler) -> Handler:
        limits = self._limits
        reading = reading_inside(handler, self._arrivals, most_bytes(method, limits.message_bytes))
        if method.startswith(HEALTH):
            return reading
        streaming = handler.request_streaming or handler.response_streaming
        return wrap(reading, partial(self._limited, limits.stream_seconds if streaming else limits.call_seconds))

    async def _limited(self, seconds: float, call: Call, context: Context) -> Any:
        self._gate.enter()
        if self._under_way >= self._limits.calls:
            raise Overloaded("too many calls at once")
        caller = principal() or _host(context.peer())
        if self._of_caller[caller] >= self._limits.calls_per_caller:
            raise Overloaded("too many calls of one caller")
        self._under_way += 1
        self._of_caller[caller] += 1
        try:
            async with asyncio.timeout(seconds) as limit:
                return await call()
        except TimeoutError as error:
            if limit.expired():
                raise CallTooLong from error
            raise
        finally:
            self._under_way -= 1
            self._of_caller[caller] -= 1
            if not self._of_caller[caller]:
                del self._of_caller[caller]


def _host(peer: str) -> str:
    """The peer without its port: one machine is one caller, however many connections it has."""
    return peer.rpartition(":")[0]
