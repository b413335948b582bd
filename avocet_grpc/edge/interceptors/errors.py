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
from avocet_grpc.edge.interceptors.wrap import Call, Context, Layer
from avocet_grpc.edge.status import internal_status, status_of

log = structlog.get_logger("avocet_grpc")


class ErrorLayer(Layer):
    """Gives every error that a method raises its code and details, in all four shapes of a call."""

    async def around(self, method: str, call: Call, context: Context) -> Any:
        try:
            return await call()
        except (grpc.aio.BaseError, asyncio.CancelledError):
            raise
        except CorrectionsError as error:
            # Its frames hold the request, which would wait for the garbage collector.
            await _abort(context, status_of(error.with_traceback(None)))
        except NotImplementedError:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "The server does not implement this method.")
        except Exception as error:
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
