"""Forwards gRPC-Web to the service, byte for byte: it reads no message, so new methods pass by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from starlette.datastructures import Headers

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.web.frames import data_frame, message_of, seconds_of, trailers_frame
from avocet_client.web.guard import any_page_can_send, is_sendable, media_type

MOST_BYTES = 17_000_000
"""A larger request is refused; the service takes 16 MB."""
CONTENT_TYPES = ("application/grpc-web+proto", "application/grpc-web")
_HEADERS = (
    (b"content-type", CONTENT_TYPES[0].encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_TRACING = ("x-correlation-id", "traceparent")
_MOST_TRACING = 1_000
_UNAUTHENTICATED, _UNAVAILABLE = (
    code.value[0] for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)
)
_UNSENDABLE = "This token is not valid: it is too long, or has characters that no token has."

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def forwarded_methods() -> frozenset[str]:
    """Return the paths that are forwarded: the service's own methods and health.

    Browsers cannot send streams. `UploadRun` passes with one message, which needs no stream.
    """
    service = pb.DESCRIPTOR.services_by_name["CorrectionsService"]
    methods = (each for each in service.methods if not each.client_streaming or each.name == "UploadRun")
    own = {f"/{service.full_name}/{method.name}" for method in methods}
    return frozenset(own | {"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})


def _streams() -> frozenset[str]:
    service = pb.DESCRIPTOR.services_by_name["CorrectionsService"]
    own = {f"/{service.full_name}/{method.name}" for method in service.methods if method.server_streaming}
    return frozenset(own | {"/grpc.health.v1.Health/Watch"})


class Refused(Exception):
    """Ends a request with an HTTP status: nothing was called."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Bridge:
    """Calls over `channel`, which must not repeat calls by itself: only a caller knows if its write has a request id.

    A caller's own `authorization` is passed on; others call with `token`, if there is one.
    """

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self._channel = channel
        self._token = token
        self._methods = forwarded_methods()
        self._streams = _streams()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the streams, which may have no end of their own. Other calls may still finish."""
        self._stopping.set()

    async def forward(self, path: str, headers: Headers, receive: Receive, send: Send) -> None:
        """Answer one request for `path`, `/<service>/<Method>`. Raises Refused before anything is sent."""
        if path not in self._methods:
            raise Refused(404, "This method is not forwarded.")
        if media_type(kind := headers.get("content-type", "")) not in CONTENT_TYPES:
            raise Refused(403 if any_page_can_send(kind) else 415, f"Send {CONTENT_TYPES[0]}.")
        body = await _read(receive)
        try:
            message, timeout = message_of(body), seconds_of(headers.get("grpc-timeout", ""))
        except ValueError as error:
            raise Refused(400, f"The request is not gRPC-Web: {error}.") from None
        metadata = self._metadata(headers)
        if metadata is None:
            await _Body(send).send(_refused_token(), more=False)
            return
        # Without serializers bytes go in and out; a unary method is a stream of one answer.
        method: Any = self._channel.unary_stream(path)
        call = method(message, timeout=timeout, metadata=metadata)
        ends = [asyncio.create_task(_gone(receive))]
        if path in self._streams:
            ends.append(asyncio.create_task(_set(self._stopping)))
        for end in ends:
            end.add_done_callback(lambda _: call.cancel())
        try:
            await _answer(call, send, self._stopping)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            call.cancel()

    def _metadata(self, headers: Headers) -> list[tuple[str, str]] | None:
        """Return what the call carries; None if it has a token that cannot be one."""
        passed = [(name, headers[name]) for name in _TRACING if _has(headers, name)]
        token = headers.get("authorization", f"Bearer {self._token}" if self._token else None)
        if token is None:
            return passed
        return [*passed, ("authorization", token)] if is_sendable(token) else None


async def _answer(call: Any, send: Send, stopping: asyncio.Event) -> None:
    body = _Body(send)
    try:
        async for message in call:
            await body.send(data_frame(message), more=True)
    except grpc.aio.AioRpcError:
        pass  # the status has it
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        if stopping.is_set():
            end = trailers_frame(_UNAVAILABLE, "This process is stopping. Nothing is wrong with the service.", ())
            await body.send(end, more=False)
        return  # the caller is gone, so the call was cancelled
    code, details = await call.code(), await call.details()
    end = trailers_frame(code.value[0], details or "", await call.trailing_metadata() or ())
    await body.send(end, more=False)


class _Body:
    """An answer's body. Its headers wait for the first part.

    A page that closes while it releases its claims sends on only until headers arrive; the call is done by then.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._has_begun = False

    async def send(self, part: bytes, more: bool) -> None:
        if not self._has_begun:
            self._has_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await self._send({"type": "http.response.body", "body": part, "more_body": more})


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Refused(400, "The request ended early.")
        body += event.get("body", b"")
        if len(body) > MOST_BYTES:
            raise Refused(413, f"The request is larger than {MOST_BYTES:,} bytes.")
        if not event.get("more_body"):
            return bytes(body)


def _has(headers: Headers, name: str) -> bool:
    return name in headers and is_sendable(headers[name], _MOST_TRACING)


def _refused_token() -> bytes:
    status = status_pb2.Status(code=_UNAUTHENTICATED, message=_UNSENDABLE)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="TOKEN_REFUSED", domain="avocet.corrections.v1"))
    details = ("grpc-status-details-bin", status.SerializeToString())
    return trailers_frame(_UNAUTHENTICATED, _UNSENDABLE, (details,))


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def _gone(receive: Receive) -> None:
    """Return once the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
