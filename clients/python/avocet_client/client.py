"""The sync client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, overload

import grpc

import avocet_client.calls as calls
from avocet_client.backoff import RETRY_FOR_SECONDS
from avocet_client.base import ClientBase
from avocet_client.bulk import ingest_many
from avocet_client.bulk_state import Correction, IngestResult
from avocet_client.connection import Connection
from avocet_client.errors import error_of_call
from avocet_client.exports import Export, export_request
from avocet_client.methods import described
from avocet_client.words import CandidateFilter, SplitName

P = ParamSpec("P")
T = TypeVar("T")


class _Method(Generic[P, T]):
    """Carries out what a function of `calls` describes; it becomes a plain method of the class."""

    def __init__(self, build: Callable[P, calls.Call[T]]) -> None:
        self._build = build

    def __set_name__(self, owner: type, name: str) -> None:
        build: Any = self._build

        def method(self: CorrectionsClient, *args: Any, **kwargs: Any) -> Any:
            return self._carry_out(build(*args, **kwargs))

        setattr(owner, name, described(method, owner, name, build))

    @overload
    def __get__(self, client: None, owner: type) -> _Method[P, T]: ...
    @overload
    def __get__(self, client: CorrectionsClient, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: CorrectionsClient | None, owner: type) -> Any:
        raise NotImplementedError  # for type checkers: `__set_name__` has put a function in its place


class CorrectionsClient(ClientBase[grpc.Channel]):
    """Calls the corrections service. Safe for threads; use it as a context manager, or `close` it.

    `target` is an address, or a channel of your own (made with `channel_options()`, or nothing is retried), which is
    not closed. `token` is sent as `authorization: Bearer` with every call: without `tls`, in the clear. `options` are
    channel options that win over this client's.

    A client of an address connects at its first call, and once more in a process that was forked or unpickled it.
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
    ) -> Export:
        """Iterate over the approved examples, each once, in order of approval, as they are at one revision.

        Shards are disjoint and together complete; `split` is one side of another split, with `validation_fraction`
        and `seed`. `at_revision` pins the revision (0: now), `since_revision` leaves out what was approved before it.
        `batch_size` 0 is the server's choice. A broken stream is continued, for an outage of up to `retry_for` seconds;
        `timeout` bounds one stream, and the next continues it.
        """
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
        return Export(self._streams("StreamExport"), request, retry_for, timeout)

    def ingest_many(
        self,
        corrections: Iterable[Correction],
        *,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
    ) -> Iterator[IngestResult]:
        """Store many corrections over one stream; gives a result for each, in order, once it is durable or refused.

        `corrections` is read as fast as the server stores, and sent 200 at a time: a source that gives one now and then
        is better served by `ingest`. A broken stream is continued without storing anything twice, for an outage of up
        to `retry_for` seconds; `timeout` bounds one stream. Results have to be iterated over for anything to be sent.
        Raises what `ingest` raises for the whole call, and what `corrections` raises; an item's own error is in its
        result. With request ids of your own, what was sent before an error may be sent again.
        """
        deadline = calls.timeout_of("StreamIngest", timeout)
        return ingest_many(self._streams("StreamIngest"), corrections, retry_for, deadline)

    def close(self) -> None:
        """Close the channel, if the client made it. Calls under way end; another call would connect again."""
        if (channel := self._let_go()) is not None:
            channel.close()

    def __enter__(self) -> CorrectionsClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._connection is None:
            raise TypeError("a client of a channel cannot go to another process; make it of an address")
        return _connected, (self._connection,)

    def _connect(self, connection: Connection) -> grpc.Channel:
        return connection.channel()

    def _carry_out(self, call: calls.Call[T]) -> T:
        try:
            response = self._method(call.method)(call.request, timeout=call.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of_call(error, call.request_id) from None
        return call.result(response)


def _connected(connection: Connection) -> CorrectionsClient:
    return CorrectionsClient(connection.address, token=connection.token, tls=connection.tls, options=connection.options)
