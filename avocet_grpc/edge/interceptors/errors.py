"""Errors to status: the outermost interceptor."""

from __future__ import annotations

import asyncio
import errno
import traceback
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc_status import rpc_status

from avocet_grpc.core.errors import CorrectionsError, InvalidField, StorageFull
from avocet_grpc.edge.interceptors.wrap import (
    Call,
    Context,
    Continuation,
    Deserializer,
    Handler,
    behavior_of,
    with_behavior,
    wrap,
)
from avocet_grpc.edge.status import internal_status, status_of

log = structlog.get_logger("avocet_grpc")


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives every error that a method raises its code and details, in all four shapes of a call."""

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
            try:
                return await call()
            except (grpc.aio.BaseError, asyncio.CancelledError):
                raise
            except CorrectionsError as error:
                await _abort(context, status_of(error))
            except NotImplementedError:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "The server does not implement this method.")
            except Exception as error:
                full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
                await _abort(context, status_of(StorageFull()) if full else _unforeseen(error, method))

        return wrap(_parsing_inside(handler), around)


def _parsing_inside(handler: Handler) -> Handler:
    """The same handler, but bytes that are no message of its type are refused by us, and not by gRPC."""
    parse, behavior = handler.request_deserializer, behavior_of(handler)
    if parse is None:
        return handler
    if handler.request_streaming:
        return with_behavior(handler, lambda requests, context: behavior(_parsed(parse, requests), context), None)
    return with_behavior(handler, lambda request, context: behavior(_parse(parse, request), context), None)


async def _parsed(parse: Deserializer, requests: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parse(parse, request)


def _parse(parse: Deserializer, request: bytes) -> Any:
    try:
        return parse(request)
    except (DecodeError, ValueError) as error:
        problem = "is no valid message of this method; check the stubs, and that every string is UTF-8"
        raise InvalidField("request", problem) from error


def _unforeseen(error: Exception, method: str) -> status_pb2.Status:
    # The exception's own text may hold what a caller sent; its type and stack do not.
    correlation_id = uuid.uuid4().hex
    stack = "".join(traceback.format_tb(error.__traceback__))
    log.error("unforeseen", correlation_id=correlation_id, method=method, error=type(error).__name__, stack=stack)
    return internal_status(correlation_id)


async def _abort(context: Context, status: status_pb2.Status) -> None:
    rich = rpc_status.to_status(status)
    await context.abort(rich.code, rich.details, trailing_metadata=rich.trailing_metadata)
