"""The channel without a network for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

import grpc

from avocet_client.testing.channel import (
    WAIT_SECONDS,
    ServerStream,
    answer_unary,
    export_or_watch,
    name_of,
    read_request,
)
from avocet_client.testing.refusals import CallError, Refusal, call_error

if TYPE_CHECKING:
    from avocet_client.testing.service import Service


class AsyncStream(ServerStream):
    """As the async clients read it."""

    async def read(self) -> Any:
        try:
            while (response := self.step()) is None:
                await asyncio.sleep(WAIT_SECONDS)
        except StopIteration:
            return grpc.aio.EOF
        return response


class AsyncIngest:
    """The responses to a stream of messages, each answered when it is read."""

    def __init__(self, service: Service, requests: AsyncIterator[Any], metadata: Any) -> None:
        self._service = service
        self._requests = requests
        self._metadata = dict(metadata or ())
        self._answer: Any = None
        self._cancelled = False

    def cancel(self) -> bool:
        self._cancelled = True
        return True

    async def read(self) -> Any:
        if self._cancelled:
            raise CallError(grpc.StatusCode.CANCELLED, "the call was cancelled")
        try:
            if self._answer is None:
                self._answer = self._service.both_streams(self._metadata)
            return self._answer(read_request("StreamIngest", await anext(self._requests)))
        except StopAsyncIteration:
            return grpc.aio.EOF
        except Refusal as refusal:
            raise call_error(refusal) from None


class AsyncChannel:
    """What `AsyncCorrectionsClient` takes in place of an address."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        async def call(request: Any, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            return answer_unary(self._service, method, request, metadata)

        return call

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        def call(request: Any, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            return AsyncStream(export_or_watch(self._service, name_of(method), request), timeout)

        return call

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        async def call(requests: Iterable[Any], timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            try:
                return self._service.client_stream([read_request("UploadRun", each) for each in requests])
            except Refusal as refusal:
                raise call_error(refusal) from None

        return call

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        def call(requests: Any, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            return AsyncIngest(self._service, requests, metadata)

        return call

    async def close(self, grace: float | None = None) -> None:
        pass
