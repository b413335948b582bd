"""Errors to status: the outermost layer."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import grpc
import structlog
from google.rpc import status_pb2
from grpc_status import rpc_status

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.edge.call_context import current
from avocet_grpc.edge.status import internal_status, status_of

log = structlog.get_logger("avocet_grpc")
Context = grpc.aio.ServicerContext[Any, Any]


async def answer_error(error: BaseException, method: str, context: Context) -> None:
    """Give an error that a method raised its code and details, which ends the call by an AbortError.

    Returns for what gRPC or a cancellation raised: that goes on as it is.
    """
    if isinstance(error, grpc.aio.BaseError | asyncio.CancelledError) or not isinstance(error, Exception):
        return
    if isinstance(error, CorrectionsError):
        # Its frames hold the request, which would wait for the garbage collector.
        await _abort(context, status_of(error.with_traceback(None)))
    elif isinstance(error, NotImplementedError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "The server does not implement this method.")
    else:
        await _abort(context, _unforeseen(error, method))


def _unforeseen(error: Exception, method: str) -> status_pb2.Status:
    # The exception's own text may hold what a caller sent; its type and stack do not.
    id = current.get().correlation_id
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("unforeseen", correlation_id=id, method=method, error=type(error).__name__, stack=stack)
    return internal_status(id)


async def _abort(context: Context, status: status_pb2.Status) -> None:
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details, trailing_metadata=rich.trailing_metadata)
