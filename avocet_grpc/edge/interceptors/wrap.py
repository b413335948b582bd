"""One way round any of the four shapes of a method."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import grpc

from avocet_grpc.edge.answers import SMALL, Answers, Hold
from avocet_grpc.edge.arrivals import Arrivals, Incoming, Parse
from avocet_grpc.edge.call_context import begin, current, recheck
from avocet_grpc.edge.message_limits import Sizes

# Quoted: in grpcio itself the class takes no parameters.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Context = grpc.aio.ServicerContext[Any, Any]
Call = Callable[[], Awaitable[Any]]
Around = Callable[[Call, Context], Awaitable[Any]]


class Layer:
    """Something that every call passes through: `around` runs the whole call inside, all its responses included."""

    def wrapped(self, method: str, handler: Handler) -> Handler:
        """Return the handler with this layer round it."""
        return wrap(handler, partial(self.around, method))

    async def around(self, method: str, call: Call, context: Context) -> Any:
        """Run `call`, and give what it gives."""
        raise NotImplementedError


class Layers(grpc.aio.ServerInterceptor):
    """One interceptor of many layers, the outermost first: gRPC goes through each of its interceptors at each call."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        # A method's handler is nearly always the same object: wrapped once, not at each call.
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        begin(method, handler_call_details.invocation_metadata or ())
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, self._in_all_layers(method, handler))
        return known[1]

    def _in_all_layers(self, method: str, handler: Handler) -> Handler:
        for layer in reversed(self._layers):
            handler = layer.wrapped(method, handler)
        return handler


def wrap(handler: Handler, around: Around) -> Handler:
    """Return a handler that runs the whole call as `around(call, context)`."""
    inner = behavior_of(handler)

    async def answer(request: Any, context: Context) -> Any:
        return await around(partial(inner, request, context), context)

    async def stream(request: Any, context: Context) -> None:
        await around(lambda: _write_all(inner(request, context), context), context)

    return with_behavior(
        handler,
        stream if handler.response_streaming else answer,
        handler.request_deserializer,
        handler.response_serializer,
    )


def reading_inside(handler: Handler, arrivals: Arrivals, answers: Answers, sizes: Sizes) -> Handler:
    """Return the same method, but what the caller sends is received and parsed by us, inside the call.

    So a refused call costs no reading, a caller that sends nothing is under the same limits as any other, a request has
    at most `sizes.request` bytes, and bytes that are not a message of the method's type get an error of ours. A single
    answer is encoded here, and counts until it is taken off.
    """
    parse, behavior = handler.request_deserializer, behavior_of(handler)
    if parse is None:
        return handler
    encode = handler.response_serializer

    @contextlib.asynccontextmanager
    async def receiving(context: Context) -> AsyncIterator[tuple[Incoming, Hold]]:
        peer = context.peer()
        with answers.hold(peer) as hold:
            current.get().answers = hold
            async with arrivals.call(sizes.request, parse, peer, context) as incoming:
                yield incoming, hold

    async def only(incoming: Incoming, hold: Hold) -> Any:
        request = await incoming.only()
        if sizes.answer > SMALL:
            await hold.take(sizes.answer)
        return request

    async def answered(hold: Hold, context: Context, response: Any) -> bytes:
        raw: bytes = response if encode is None else encode(response)
        hold.hand_over(len(raw), context)
        sizes.answered(len(raw))
        return raw

    async def answer(requests: Any, context: Context) -> Any:
        async with receiving(context) as (incoming, hold):
            return await answered(hold, context, await behavior(await only(incoming, hold), context))

    async def stream(requests: Any, context: Context) -> None:
        async with receiving(context) as (incoming, _):
            await _write_all(behavior(await incoming.only(), context), context)

    async def answer_all(requests: Any, context: Context) -> Any:
        async with receiving(context) as (incoming, hold):
            return await answered(hold, context, await behavior(aiter(incoming), context))

    async def stream_all(requests: Any, context: Context) -> None:
        async with receiving(context) as (incoming, _):
            await _write_all(behavior(aiter(incoming), context), context)

    one, many = (stream, stream_all) if handler.response_streaming else (answer, answer_all)
    encode_later = encode if handler.response_streaming else None
    return with_behavior(handler, many if handler.request_streaming else one, None, encode_later, reads=True)


def behavior_of(handler: Handler) -> Callable[[Any, Any], Any]:
    """Return the method that the handler holds, whatever its shape."""
    behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return behavior  # type: ignore[no-any-return]


def with_behavior(
    handler: Handler, behavior: Any, deserializer: Parse | None, serializer: Any, *, reads: bool = False
) -> Handler:
    """Return a handler of the same shape that runs `behavior`; with `reads` it takes its request as a stream."""
    makers: dict[tuple[bool, bool], Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[reads or bool(handler.request_streaming), bool(handler.response_streaming)]
    wrapped: Handler = make(behavior, deserializer, serializer)
    return wrapped


async def _write_all(result: Any, context: Context) -> None:
    # A streaming method either yields its responses or writes them to the context itself.
    if inspect.isawaitable(result):
        await result
        return
    try:
        async for response in result:
            recheck()
            await context.write(response)
    finally:
        await result.aclose()
