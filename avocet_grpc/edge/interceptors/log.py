"""One line a call: the method, how it ended, and how long it took. Never what was in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import structlog

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.edge.interceptors.wrap import Call, Context, Continuation, Handler, wrap
from avocet_grpc.edge.status import entry_of

log = structlog.get_logger("avocet_grpc")
CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class LogInterceptor(grpc.aio.ServerInterceptor):
    """Logs each call once it has ended."""

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method

        async def around(call: Call, context: Context) -> Any:
            started, code = time.perf_counter(), "OK"
            try:
                return await call()
            except BaseException as error:
                code = _code(error, context)
                raise
            finally:
                duration_ms = round((time.perf_counter() - started) * 1000, 3)
                log.info("call", method=method, code=code, duration_ms=duration_ms)

        return wrap(handler, around)


def _code(error: BaseException, context: Context) -> str:
    if isinstance(error, CorrectionsError):
        return entry_of(error).code.name
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    if isinstance(error, grpc.aio.AbortError):
        code: Any = context.code()
        return CODES.get(code, code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN).name
    return grpc.StatusCode.UNIMPLEMENTED.name if isinstance(error, NotImplementedError) else "INTERNAL"
