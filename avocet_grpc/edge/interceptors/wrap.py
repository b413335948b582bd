"""One way round any of the four shapes of a method."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

# Quoted: in grpcio itself the class takes no parameters.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Context = grpc.aio.ServicerContext[Any, Any]
Call = Callable[[], Awaitable[Any]]
Around = Callable[[Call, Context], Awaitable[Any]]
Deserializer = Callable[[bytes], Any]


def behavior_of(handler: Handler) -> Callable[[Any, Any], Any]:
    """The method that the handler holds, whatever its shape."""
    behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return behavior  # type: ignore[no-any-return]


def with_behavior(handler: Handler, behavior: Any, deserializer: Deserializer | None) -> Handler:
    """A handler of the same shape and response that runs `behavior`."""
    makers: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    wrapped: Handler = make(behavior, deserializer, handler.response_serializer)
    return wrapped


def wrap(handler: Handler, around: Around) -> Handler:
    """A handler that runs the whole call, all its responses included, as `around(call, context)`."""
    inner = behavior_of(handler)

    async def answer(request: Any, context: Context) -> Any:
        async def call() -> Any:
            result = inner(request, context)
            return await result if inspect.isawaitable(result) else result

        return await around(call, context)

    async def stream(request: Any, context: Context) -> None:
        async def call() -> None:
            result = inner(request, context)
            # A streaming method either yields its responses or writes them to the context itself.
            if inspect.isawaitable(result):
                await result
                return
            try:
                async for response in result:
                    await context.write(response)
            finally:
                await result.aclose()

        await around(call, context)

    return with_behavior(handler, stream if handler.response_streaming else answer, handler.request_deserializer)
