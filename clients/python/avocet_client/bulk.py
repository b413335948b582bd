"""Bulk ingest over StreamIngest: the sync and the async way, over the same state.

Messages wait in a queue, which the state's window bounds. A call that wrote and read by turns could wait for a server
that waits for it to read.
"""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import grpc

from avocet_client.backoff import Backoff
from avocet_client.base import Streams
from avocet_client.bulk_state import Correction, IngestResult, IngestState
from avocet_client.errors import CorrectionsError, error_of_call, error_of_cancelled
from avocet_client.v1 import corrections_pb2 as pb


def ingest_many(
    open: Streams, corrections: Iterable[Correction], retry_for: float, timeout: float
) -> Iterator[IngestResult]:
    """`CorrectionsClient.ingest_many`."""
    state, backoff, stream = IngestState(), Backoff(retry_for), _SyncStream(open, timeout)
    try:
        for message in _messages(state, corrections):
            stream.send(message)
            while state.window_is_full:
                yield from _receive(stream, state, backoff)
        while state.waits:
            yield from _receive(stream, state, backoff)
    finally:
        stream.close()


def _messages(state: IngestState, corrections: Iterable[Correction]) -> Iterator[pb.StreamIngestRequest]:
    for correction in corrections:
        if (message := state.add(correction)) is not None:
            yield message
    if (message := state.flush()) is not None:
        yield message


def _receive(stream: _SyncStream, state: IngestState, backoff: Backoff) -> list[IngestResult]:
    """Return the results of the oldest message; none if the stream broke and was started again."""
    response: pb.StreamIngestResponse | None = None
    error: CorrectionsError = state.ended()
    closings = stream.open.closings
    try:
        response = stream.receive()
    except grpc.RpcError as broken:
        error = error_of_call(broken)
    if response is None:
        stream.open.check(closings, error)
        time.sleep(backoff.pause(error, time.monotonic()))
        stream.begin(state.unsettled())
        return []
    backoff.progressed()
    return state.receive(response)


class _Stream:
    """A call and the queue that feeds it."""

    send: Callable[[pb.StreamIngestRequest | None], None]

    def __init__(self, open: Streams, timeout: float) -> None:
        self.open = open
        self._timeout = timeout
        self._call: Any = None
        self.begin(())

    def begin(self, messages: Iterable[pb.StreamIngestRequest]) -> None:
        """Begin a new call with these messages."""
        self.close()
        self.send, requests = self._queue()
        for message in messages:
            self.send(message)
        self._call = self.open(requests, timeout=self._timeout)

    def close(self) -> None:
        if self._call is not None:
            self.send(None)
            self._call.cancel()

    def _queue(self) -> tuple[Callable[[pb.StreamIngestRequest | None], None], Any]:
        """Return a function that queues a message (None ends it), and the iterator that gives gRPC what was queued."""
        raise NotImplementedError


class _SyncStream(_Stream):
    def _queue(self) -> tuple[Callable[[pb.StreamIngestRequest | None], None], Any]:
        waiting: queue.SimpleQueue[pb.StreamIngestRequest | None] = queue.SimpleQueue()
        return waiting.put, iter(waiting.get, None)

    def receive(self) -> pb.StreamIngestResponse | None:
        response: pb.StreamIngestResponse | None = next(self._call, None)
        return response


async def ingest_many_async(
    open: Streams, corrections: Iterable[Correction] | AsyncIterable[Correction], retry_for: float, timeout: float
) -> AsyncIterator[IngestResult]:
    """`AsyncCorrectionsClient.ingest_many`."""
    state, backoff, stream = IngestState(), Backoff(retry_for), _AsyncStream(open, timeout)
    try:
        async for message in _messages_async(state, corrections):
            stream.send(message)
            while state.window_is_full:
                for result in await _receive_async(stream, state, backoff):
                    yield result
        while state.waits:
            for result in await _receive_async(stream, state, backoff):
                yield result
    finally:
        stream.close()


async def _messages_async(
    state: IngestState, corrections: Iterable[Correction] | AsyncIterable[Correction]
) -> AsyncIterator[pb.StreamIngestRequest]:
    if isinstance(corrections, AsyncIterable):
        async for correction in corrections:
            if (message := state.add(correction)) is not None:
                yield message
        corrections = ()
    for message in _messages(state, corrections):
        yield message


async def _receive_async(stream: _AsyncStream, state: IngestState, backoff: Backoff) -> list[IngestResult]:
    response: pb.StreamIngestResponse | None = None
    error: CorrectionsError = state.ended()
    closings = stream.open.closings
    try:
        response = await stream.receive()
    except grpc.RpcError as broken:
        error = error_of_call(broken)
    except asyncio.CancelledError as cancelled:
        error = error_of_cancelled(cancelled)
    if response is None:
        stream.open.check(closings, error)
        await asyncio.sleep(backoff.pause(error, time.monotonic()))
        stream.begin(state.unsettled())
        return []
    backoff.progressed()
    return state.receive(response)


class _AsyncStream(_Stream):
    def _queue(self) -> tuple[Callable[[pb.StreamIngestRequest | None], None], Any]:
        waiting: asyncio.Queue[pb.StreamIngestRequest | None] = asyncio.Queue()
        return waiting.put_nowait, _drained(waiting)

    async def receive(self) -> pb.StreamIngestResponse | None:
        response = await self._call.read()
        return None if response is grpc.aio.EOF else response


async def _drained(
    messages: asyncio.Queue[pb.StreamIngestRequest | None],
) -> AsyncIterator[pb.StreamIngestRequest]:
    while (message := await messages.get()) is not None:
        yield message
