"""The way of every call, in any of the four shapes of a method."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from avocet_grpc.edge.answers import CHANGING, SMALL, Hold
from avocet_grpc.edge.arrivals import Incoming
from avocet_grpc.edge.call_context import CallInfo, begin, current, recheck
from avocet_grpc.edge.interceptors.auth import Admission
from avocet_grpc.edge.interceptors.errors import answer_error
from avocet_grpc.edge.interceptors.limits import Limiter, caller_of
from avocet_grpc.edge.interceptors.log import CallLog, code_of
from avocet_grpc.edge.message_limits import Sizes

# Quoted: in grpcio itself the class takes no parameters.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Context = grpc.aio.ServicerContext[Any, Any]


class Passage(grpc.aio.ServerInterceptor):
    """One interceptor, and one coroutine a call: a coroutine for each layer would cost as much as a small method.

    What the caller sends is received and parsed inside. So a refused call costs no reading, a caller that sends nothing
    is under the same limits as any other, and bytes that are not a message of the method's type get an error of ours.
    """

    def __init__(self, log: CallLog, admission: Admission, limiter: Limiter) -> None:
        self._log, self._admission, self._limiter = log, admission, limiter
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
            known = self._wrapped[method] = (handler, self._around(method, handler))
        return known[1]

    def _around(self, method: str, handler: Handler) -> Handler:
        """Return the handler with everything round it; it takes its request as a stream, whatever its shape."""
        behavior = behavior_of(handler)
        many, streams = bool(handler.request_streaming), bool(handler.response_streaming)
        limits = self._limiter.of(method, handler.request_deserializer or bytes, streams=many or streams)
        log, admission, sizes, encode = self._log, self._admission, limits.sizes, handler.response_serializer

        async def answer(_: Any, context: Context) -> Any:
            info, began = current.get(), log.began(method)
            try:
                admission.admit(method, info)
                result = await limited(info, context)
            except BaseException as error:
                log.ended(method, code_of(error, context), info, began)
                await answer_error(error, method, context)
                raise
            log.ended(method, "OK", info, began)
            return result

        async def limited(info: CallInfo, context: Context) -> Any:
            peer = context.peer()
            caller = caller_of(info.principal, peer)
            incoming = limits.enter(caller, peer, context)
            try:
                with limits.answers.hold(peer) as hold:
                    info.answers, info.lines = hold, limits.lines
                    info.end, info.finished = incoming.end, incoming.finished
                    return await (stream if streams else respond)(incoming, hold, context)
            except asyncio.CancelledError:
                if (reason := incoming.reason()) is None:
                    raise
            finally:
                limits.leave(incoming, caller)
            # Raised above, it would have the cancellation as its context, and keep with it all that the call held.
            raise reason

        # No name holds a request: the stack of an error would keep it.
        async def respond(incoming: Incoming, hold: Hold, context: Context) -> bytes:
            response = await behavior(aiter(incoming) if many else await _only(incoming, hold, sizes), context)
            raw: bytes = response if encode is None else encode(response)
            hold.hand_over(len(raw), context)
            sizes.answered(max(len(raw), hold.wanted))
            return raw

        async def stream(incoming: Incoming, _: Hold, context: Context) -> None:
            await _write_all(behavior(aiter(incoming) if many else await incoming.only(), context), context)

        make: Any = grpc.stream_stream_rpc_method_handler if streams else grpc.stream_unary_rpc_method_handler
        wrapped: Handler = make(answer, None, encode if streams else None)
        return wrapped


def behavior_of(handler: Handler) -> Callable[[Any, Any], Any]:
    """Return the method that the handler holds, whatever its shape."""
    behavior: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return behavior  # type: ignore[no-any-return]


async def _only(incoming: Incoming, hold: Hold, sizes: Sizes) -> Any:
    """Return the one request, once there is room to work on it and for its answer."""
    request = await incoming.only()
    if incoming.size > sizes.answer:
        await hold.take(incoming.size, CHANGING)
    elif sizes.answer > SMALL:
        await hold.take(sizes.answer)
    return request


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
