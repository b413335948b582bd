"""How many calls at once, and how long each: the innermost layer, where the request is received, too."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from avocet_grpc.core.errors import CallTooLong, Overloaded
from avocet_grpc.edge.interceptors.wrap import Call, Context, Handler, Layer, reading_inside, wrap
from avocet_grpc.edge.shutdown_gate import Gate

HEALTH = "/grpc.health.v1.Health/"


class LimitLayer(Layer):
    """Refuses the call that is one too many or too late, and ends the one that takes too long.

    Health is never refused: a busy server is not a dead one. Its Watch lasts as long as its connection.
    """

    def __init__(self, gate: Gate, calls: int, call_seconds: float, stream_seconds: float) -> None:
        self._gate = gate
        self._calls, self._call_seconds, self._stream_seconds = calls, call_seconds, stream_seconds
        self._under_way = 0

    def wrapped(self, method: str, handler: Handler) -> Handler:
        if method.startswith(HEALTH):
            return reading_inside(handler)
        streaming = handler.request_streaming or handler.response_streaming
        seconds = self._stream_seconds if streaming else self._call_seconds
        return wrap(reading_inside(handler), partial(self._limited, seconds))

    async def _limited(self, seconds: float, call: Call, context: Context) -> Any:
        self._gate.enter()
        if self._under_way >= self._calls:
            raise Overloaded("too many calls at once")
        self._under_way += 1
        try:
            async with asyncio.timeout(seconds) as limit:
                return await call()
        except TimeoutError as error:
            if limit.expired():
                raise CallTooLong from error
            raise
        finally:
            self._under_way -= 1
