"""The async client."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, overload

import grpc

import avocet_client.calls as calls
from avocet_client.backoff import RETRY_FOR_SECONDS
from avocet_client.base import ClientBase
from avocet_client.bulk import ingest_many_async
from avocet_client.bulk_state import Correction, IngestResult
from avocet_client.connection import Connection
from avocet_client.errors import error_of_call
from avocet_client.exports import AsyncExport, export_request
from avocet_client.methods import described
from avocet_client.words import CandidateFilter, SplitName

P = ParamSpec("P")
T = TypeVar("T")


class _Method(Generic[P, T]):
    """Carries out what a function of `calls` describes; it becomes a plain async method of the class."""

    def __init__(self, build: Callable[P, calls.Call[T]]) -> None:
        self._build = build

    def __set_name__(self, owner: type, name: str) -> None:
        build: Any = self._build

        async def method(self: AsyncCorrectionsClient, *args: Any, **kwargs: Any) -> Any:
            return await self._carry_out(build(*args, **kwargs))

        setattr(owner, name, described(method, owner, name, build))

    @overload
    def __get__(self, client: None, owner: type) -> _Method[P, T]: ...
    @overload
    def __get__(self, client: AsyncCorrectionsClient, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: AsyncCorrectionsClient | None, owner: type) -> Any:
        raise NotImplementedError  # for type checkers: `__set_name__` has put a function in its place


class AsyncCorrectionsClient(ClientBase[grpc.aio.Channel]):
    """`CorrectionsClient` for asyncio: the same methods, awaited, in one event loop. Use `async with`, or `close` it.

    `target` is an address, or a `grpc.aio.Channel` of your own (made with `channel_options()`, or nothing is retried),
    which is not closed.
    """

    list_runs = _Method(calls.list_runs)
    import_run = _Method(calls.import_run)
    queue = _Method(calls.queue)
    get_candidate = _Method(calls.get_candidate)
    submit = _Method(calls.submit)
    undo = _Method(calls.undo)
    stats = _Method(calls.stats)
    get_config = _Method(calls.get_config)
    set_config = _Method(calls.set_config)
    ingest = _Method(calls.ingest)

    def export(
        self,
        *,
        filter: CandidateFilter | None = None,
        shard_index: int = 0,
        shard_count: int = 1,
        split: SplitName | None = None,
        validation_fraction: float = 0.1,
        seed: int = 0,
        batch_size: int = 0,
        at_revision: int = 0,
        since_revision: int = 0,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
    ) -> AsyncExport:
        """As `CorrectionsClient.export`, to iterate over with `async for`."""
        request = export_request(
            filter=filter,
            shard_index=shard_index,
            shard_count=shard_count,
            split=split,
            validation_fraction=validation_fraction,
            seed=seed,
            batch_size=batch_size,
            at_revision=at_revision,
            since_revision=since_revision,
        )
        return AsyncExport(self._streams("StreamExport"), request, retry_for, timeout)

    def ingest_many(
        self,
        corrections: Iterable[Correction] | AsyncIterable[Correction],
        *,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
    ) -> AsyncIterator[IngestResult]:
        """As `CorrectionsClient.ingest_many`, to iterate over with `async for`; `corrections` may be async, too."""
        deadline = calls.timeout_of("StreamIngest", timeout)
        return ingest_many_async(self._streams("StreamIngest"), corrections, retry_for, deadline)

    async def close(self) -> None:
        """Close the channel, if the client made it. Calls under way end; another call would connect again."""
        if (channel := self._let_go()) is not None:
            await channel.close()

    async def __aenter__(self) -> AsyncCorrectionsClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connect(self, connection: Connection) -> grpc.aio.Channel:
        return connection.aio_channel()

    async def _carry_out(self, call: calls.Call[T]) -> T:
        try:
            response = await self._method(call.method)(call.request, timeout=call.timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error, call.request_id) from None
        return call.result(response)
