"""A gRPC channel without a network: each call is answered by an in-memory service, in the caller's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

from avocet_client.testing.refusals import CallError, Refusal, call_error
from avocet_client.v1 import corrections_pb2 as pb

if TYPE_CHECKING:
    from avocet_client.testing.service import Service

METHODS = pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods_by_name
HEALTH = "/grpc.health.v1.Health/Check"
WAIT_SECONDS = 0.01
"""How long a watch that has nothing waits before it looks again."""


def name_of(path: str) -> str:
    """Return the method's name, of its path."""
    return path.rpartition("/")[2]


def read_request(method: str, request: Any) -> Any:
    """Return the request as a server would read it: a copy."""
    kind: Any = getattr(pb, METHODS[method].input_type.name)
    return kind.FromString(request.SerializeToString())


def answer_unary(service: Service, path: str, request: Any, metadata: Any) -> Any:
    """Return the answer to a call of one request. Raises CallError."""
    if path == HEALTH:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
    method = name_of(path)
    try:
        response = service.unary(method, read_request(method, request), dict(metadata or ()))
    except Refusal as refusal:
        raise call_error(refusal) from None
    return type(response).FromString(response.SerializeToString())


class ServerStream:
    """The responses of a call; `step` returns None if there is nothing now, and raises StopIteration at the end."""

    def __init__(self, responses: Callable[[], Iterator[Any]], timeout: float | None) -> None:
        self._open = responses
        self._responses: Iterator[Any] | None = None
        self._ends = None if timeout is None else time.monotonic() + timeout
        self._cancelled = False

    def cancel(self) -> bool:
        self._cancelled = True
        return True

    def step(self) -> Any:
        if self._cancelled:
            raise CallError(grpc.StatusCode.CANCELLED, "the call was cancelled")
        if self._ends is not None and time.monotonic() > self._ends:
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            if self._responses is None:
                self._responses = self._open()
            response = next(self._responses)
        except Refusal as refusal:
            raise call_error(refusal) from None
        return None if response is None else type(response).FromString(response.SerializeToString())


class SyncStream(ServerStream, Iterator[Any]):
    """As the sync clients read it."""

    def __next__(self) -> Any:
        while (response := self.step()) is None:
            time.sleep(WAIT_SECONDS)
        return response


def export_or_watch(service: Service, method: str, request: Any) -> Callable[[], Iterator[Any]]:
    """Return what begins the stream that answers one request."""
    read = read_request(method, request)
    return lambda: service.server_stream(method, read)


class Channel(grpc.Channel):
    """What `CorrectionsClient` takes in place of an address."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        def call(request: Any, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            return answer_unary(self._service, method, request, metadata)

        return call

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        def call(request: Any, timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            return SyncStream(export_or_watch(self._service, name_of(method), request), timeout)

        return call

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        def call(requests: Iterator[Any], timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            try:
                return self._service.client_stream([read_request("UploadRun", each) for each in requests])
            except Refusal as refusal:
                raise call_error(refusal) from None

        return call

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        def call(requests: Iterator[Any], timeout: float | None = None, metadata: Any = None, **_: Any) -> Any:
            def responses() -> Iterator[Any]:
                answer = self._service.both_streams(dict(metadata or ()))
                return (answer(read_request("StreamIngest", each)) for each in requests)

            return SyncStream(responses, timeout)

        return call

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        callback(grpc.ChannelConnectivity.READY)

    def unsubscribe(self, callback: Any) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *error: object) -> None:
        pass
