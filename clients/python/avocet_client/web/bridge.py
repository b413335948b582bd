"""Forwards gRPC-Web to the service, byte for byte: it reads no message, so new methods pass by themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from starlette.datastructures import Headers

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.web.frames import data_frame, message_of, seconds_of, trailers_frame
from avocet_client.web.guard import any_page_can_send

MOST_BYTES = 17_000_000
"""A larger request is refused; the service takes 16 MB."""
CONTENT_TYPES = ("application/grpc-web+proto", "application/grpc-web")
_HEADERS = (
    (b"content-type", CONTENT_TYPES[0].encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_PASSED_ON = ("authorization", "x-correlation-id", "traceparent")

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

    async def forward(self, path: str, headers: Headers, receive: Receive, send: Send) -> None:
        """Answer one request for `path`, `/<service>/<Method>`. Raises Refused before anything is sent."""
        if path not in self._methods:
            raise Refused(404, "This method is not forwarded.")
        if (kind := headers.get("content-type", "")) not in CONTENT_TYPES:
            raise Refused(403 if any_page_can_send(kind) else 415, f"Send {CONTENT_TYPES[0]}.")
        body = await _read(receive)
        try:
            message, timeout = message_of(body), seconds_of(headers.get("grpc-timeout", ""))
        except ValueError as error:
            raise Refused(400, f"The request is not gRPC-Web: {error}.") from None
        # Without serializers bytes go in and out; a unary method is a stream of one answer.
        method: Any = self._channel.unary_stream(path)
        call = method(message, timeout=timeout, metadata=self._metadata(headers))
        gone = asyncio.create_task(_gone(receive))
        gone.add_done_callback(lambda _: call.cancel())
        try:
            await _answer(call, send)
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
            call.cancel()

    def _metadata(self, headers: Headers) -> list[tuple[str, str]]:
        passed = [(name, headers[name]) for name in _PASSED_ON if name in headers]
        if self._token and "authorization" not in headers:
            passed.append(("authorization", f"Bearer {self._token}"))
        return passed


async def _answer(call: Any, send: Send) -> None:
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


async def _gone(receive: Receive) -> None:
    """Return once the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
