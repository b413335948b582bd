"""What both clients share: the channel that they make or are given, and the calls that go over it."""

from __future__ import annotations

import os
import threading
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from avocet_client.connection import Connection, Metadata, Options, Tls, call_metadata
from avocet_client.errors import CorrectionsError, TransportError
from avocet_client.requests import check_size
from avocet_client.v1 import corrections_pb2_grpc

C = TypeVar("C")
"""The kind of channel: `grpc.Channel` or `grpc.aio.Channel`."""


class ClientBase(Generic[C]):
    """A client of an address connects at its first call, and once more in a process that was forked."""

    def __init__(self, target: str | C, *, token: str = "", tls: Tls | None = None, options: Options = ()) -> None:
        self._connection = Connection(target, token, tls, tuple(options)) if isinstance(target, str) else None
        if self._connection is None and (tls or options):
            raise TypeError("a channel has its TLS and options already; give them with an address")
        self._given = None if isinstance(target, str) else target
        self._metadata = call_metadata(token)
        self._channel: C | None = None
        self._stub: Any = None
        self._process = 0
        self._closings = 0
        self._lock = threading.Lock()

    def channel(self) -> C:
        """Return the channel that the calls go over, for other services at the same address."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._channel is None or self._process != os.getpid():
                assert self._connection is not None
                self._channel, self._stub, self._process = self._connect(self._connection), None, os.getpid()
            return self._channel

    def _connect(self, connection: Connection) -> C:
        raise NotImplementedError

    def _let_go(self) -> C | None:
        """Forget the channel that was made. Gives it to be closed, unless it is another process's."""
        with self._lock:
            self._closings += 1
            channel, self._channel, self._stub = self._channel, None, None
            return channel if self._process == os.getpid() else None

    def _method(self, name: str) -> Any:
        channel: Any = self.channel()
        if self._stub is None:
            self._stub = corrections_pb2_grpc.CorrectionsServiceStub(channel)
        return getattr(self._stub, name)

    def _begin(self, method: str, request: Any, timeout: float, metadata: Metadata, request_id: str = "") -> Any:
        """Begin a call. Raises RequestTooLarge, before anything is sent, if the request is one message."""
        if isinstance(request, Message):
            check_size(method, request, request_id)
        return self._method(method)(request, timeout=timeout, metadata=metadata)

    def _sent_with(self, metadata: Metadata) -> Metadata:
        """The metadata of one call: a key of its own wins over the client's."""
        stated = {key for key, _ in metadata}
        return (*metadata, *(pair for pair in self._metadata if pair[0] not in stated))

    def _streams(self, method: str, metadata: Metadata) -> Streams:
        """Return what opens the streams of one iterator, and opens another after a break."""
        return Streams(self, method, self._sent_with(metadata))


class Streams:
    """Opens one stream after the other. A stream that ends because its client is closed is not continued."""

    def __init__(self, client: ClientBase[Any], method: str, metadata: Metadata) -> None:
        self._client, self._method, self._metadata = client, method, metadata

    def __call__(self, request: Any, timeout: float) -> Any:
        return self._client._begin(self._method, request, timeout, self._metadata)

    @property
    def closings(self) -> int:
        """How often the client was closed."""
        return self._client._closings

    def check(self, closings: int, error: CorrectionsError) -> None:
        """Raise TransportError if the client was closed since: `error` came of that, and not of an outage."""
        if self.closings != closings:
            raise TransportError("the client was closed", code=grpc.StatusCode.CANCELLED) from error
