"""One line a call: the method, how it ended, who called, and how long it took. Never what was in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.edge.call import current
from avocet_grpc.edge.interceptors.wrap import Call, Context, Layer
from avocet_grpc.edge.status import entry_of
from avocet_grpc.logs import log_call

CODES: dict[Any, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class LogInterceptor(Layer):
    """Logs each call once it has ended."""

    async def around(self, method: str, call: Call, context: Context) -> Any:
        started, code = time.perf_counter(), "OK"
        try:
            return await call()
        except BaseException as error:
            code = code_of(error, context)
            raise
        finally:
            info = current.get()
            log_call(method, code, info.principal, time.perf_counter() - started, info.correlation_id)


def code_of(error: BaseException, context: Context) -> str:
    """The name of the status code that a call which raised `error` ends with."""
    if isinstance(error, CorrectionsError):
        return entry_of(error).code.name
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    if isinstance(error, grpc.aio.AbortError):
        code: Any = context.code()
        return CODES.get(code, code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN).name
    return grpc.StatusCode.UNIMPLEMENTED.name if isinstance(error, NotImplementedError) else "INTERNAL"
