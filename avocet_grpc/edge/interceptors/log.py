"""One line a call: the method, how it ended, who called, and how long it took. Never what was in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

import grpc

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.edge.call_context import CallInfo
from avocet_grpc.edge.status import entry_of
from avocet_grpc.telemetry.guard import guarded
from avocet_grpc.telemetry.logs import log_call

CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class Meter(Protocol):
    """Who counts the calls."""

    def call_began(self, method: str) -> None:
        """A call is under way."""

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """It has ended."""


class CallLog:
    """Logs each call once it has ended, and lets `meter` count it."""

    def __init__(self, meter: Meter | None = None) -> None:
        self._began = guarded("meter", meter.call_began) if meter else None
        self._ended = guarded("meter", meter.call_ended) if meter else None

    def began(self, method: str) -> float:
        """A call begins. Returns when, for `ended`."""
        if self._began is not None:
            self._began(method)
        return time.perf_counter()

    def ended(self, method: str, code: str, info: CallInfo, began: float) -> None:
        """It has ended with the status code of this name."""
        seconds = time.perf_counter() - began
        log_call(method, code, info.principal, seconds, info.correlation_id)
        if self._ended is not None:
            self._ended(method, code, seconds)


def code_of(error: BaseException, context: Any) -> str:
    """Return the name of the status code that a call which raised `error` ends with."""
    if isinstance(error, CorrectionsError):
        return entry_of(error).code.name
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    if isinstance(error, grpc.aio.AbortError):
        code: Any = context.code()
        return CODES.get(code, code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN).name
    if isinstance(error, grpc.aio.InternalError):
        # A message could not be sent: the caller has ended the call, or its connection is gone.
        is_late = context.time_remaining() is not None and context.time_remaining() <= 0
        return (grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED).name
    return grpc.StatusCode.UNIMPLEMENTED.name if isinstance(error, NotImplementedError) else "INTERNAL"
