"""The async client."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

import avocet_client.calls as calls
from avocet_client.backoff import RETRY_FOR_SECONDS
from avocet_client.bulk import ingest_many_async
from avocet_client.bulk_state import Correction, IngestResult
from avocet_client.calls import Call
from avocet_client.connection import Connection, Metadata
from avocet_client.errors import error_of_call
from avocet_client.export_options import ExportOptions, export_request
from avocet_client.exports import AsyncExport
from avocet_client.health import SECONDS, SERVICE, Health, health_call, health_word
from avocet_client.team_aio_client import AsyncTeamClient
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import Action, CandidateFilter, ClaimWord, FailureCategory, Order

T = TypeVar("T")


class AsyncCorrectionsClient(AsyncTeamClient):
    """`CorrectionsClient` for asyncio: the same methods, awaited, in one event loop. Use `async with`, or `close` it.

    `target` is an address or a `grpc.aio.Channel` of your own. Make the channel with `channel_options()`, or nothing is
    retried. The client does not close your channel.
    """

    async def list_runs(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.ListRunsResponse:
        """Return one page of the benchmark runs, newest name first. See `CorrectionsClient.list_runs`."""
        return await self._carry_out(
            calls.list_runs(page_size=page_size, page_token=page_token, timeout=timeout, metadata=metadata)
        )

    async def import_run(
        self,
        run_id: str,
        *,
        on_conflict: pb.OnConflict.ValueType = pb.ON_CONFLICT_UNSPECIFIED,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.ImportResponse:
        """Import a benchmark run's candidates. See `CorrectionsClient.import_run`."""
        return await self._carry_out(
            calls.import_run(run_id, on_conflict=on_conflict, timeout=timeout, metadata=metadata)
        )

    async def queue(
        self,
        *,
        page: int = 0,
        per_page: int = 0,
        page_token: str = "",
        filter: CandidateFilter | None = None,
        order: Order = "file",
        include_record: bool = False,
        claims: ClaimWord = "any",
        reviewer: str = "",
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.QueueResponse:
        """Return one page of the candidates in review. See `CorrectionsClient.queue`."""
        call = calls.queue(
            page=page,
            per_page=per_page,
            page_token=page_token,
            filter=filter,
            order=order,
            include_record=include_record,
            claims=claims,
            reviewer=reviewer,
            timeout=timeout,
            metadata=metadata,
        )
        return await self._carry_out(call)

    async def get_candidate(
        self, id: str, *, include_record: bool = False, timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.Candidate:
        """Return one candidate, in review or not. See `CorrectionsClient.get_candidate`."""
        return await self._carry_out(
            calls.get_candidate(id, include_record=include_record, timeout=timeout, metadata=metadata)
        )

    async def submit(
        self,
        id: str,
        *,
        action: Action,
        corrected_response: str = "",
        corrected_message: Mapping[str, Any] | None = None,
        failure_category: FailureCategory | None = None,
        reviewer: str = "",
        lease_id: str = "",
        expected_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.Candidate:
        """Decide a candidate in review, and return it as the decision left it. See `CorrectionsClient.submit`."""
        call = calls.submit(
            id,
            action=action,
            corrected_response=corrected_response,
            corrected_message=corrected_message,
            failure_category=failure_category,
            reviewer=reviewer,
            lease_id=lease_id,
            expected_revision=expected_revision,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        return await self._carry_out(call)

    async def undo(
        self,
        id: str,
        *,
        reviewer: str = "",
        expected_revision: int | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.Candidate:
        """Take back the last decision on a candidate, and return the candidate as it is then.

        See `CorrectionsClient.undo`.
        """
        call = calls.undo(
            id,
            reviewer=reviewer,
            expected_revision=expected_revision,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        return await self._carry_out(call)

    async def stats(
        self, *, filter: CandidateFilter | None = None, timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.StatsResponse:
        """Return counts of the candidates, and the store's revision. See `CorrectionsClient.stats`."""
        return await self._carry_out(calls.stats(filter=filter, timeout=timeout, metadata=metadata))

    async def get_version(self, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.GetVersionResponse:
        """Return the server's version, its engine, and its start. See `CorrectionsClient.get_version`."""
        return await self._carry_out(calls.get_version(timeout=timeout, metadata=metadata))

    async def version(self, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.GetVersionResponse:
        """The same as `get_version`."""
        return await self.get_version(timeout=timeout, metadata=metadata)

    async def health(self, *, service: str = SERVICE, timeout: float = SECONDS, metadata: Metadata = ()) -> Health:
        """Return `serving`, or how the service is otherwise; "" for the server as a whole. It asks for no token.

        Raises TransportError if nobody answers.
        """
        check, request = health_call(self.channel(), service)
        try:
            return health_word(await check(request, timeout=timeout, metadata=self._sent_with(metadata)))
        except grpc.RpcError as error:
            raise error_of_call(error) from None

    async def get_config(self, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.Config:
        """Return the configuration that the service shares with the legacy application.

        See `CorrectionsClient.get_config`.
        """
        return await self._carry_out(calls.get_config(timeout=timeout, metadata=metadata))

    async def set_config(
        self, *, bench_results_dir: str, timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.Config:
        """Set the directory of benchmark runs on the server: an absolute path, or "" for none.

        See `CorrectionsClient.set_config`.
        """
        return await self._carry_out(
            calls.set_config(bench_results_dir=bench_results_dir, timeout=timeout, metadata=metadata)
        )

    async def ingest(
        self,
        *,
        source: str,
        task_type: str,
        prompt: str,
        correction: str,
        response: str = "",
        label: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.IngestResponse:
        """Store a correction that a user of yours made, as an approved record. See `CorrectionsClient.ingest`."""
        call = calls.ingest(
            source=source,
            task_type=task_type,
            prompt=prompt,
            response=response,
            correction=correction,
            label=label,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        return await self._carry_out(call)

    def export(
        self,
        *,
        shard_index: int = 0,
        shard_count: int = 1,
        batch_size: int = 0,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
        metadata: Metadata = (),
        **options: Unpack[ExportOptions],
    ) -> AsyncExport:
        """As `CorrectionsClient.export`: iterate over the approved examples, with `async for`."""
        request = export_request(options, shard_index=shard_index, shard_count=shard_count, batch_size=batch_size)
        return AsyncExport(self._streams("StreamExport", metadata), request, retry_for, timeout)

    def ingest_many(
        self,
        corrections: Iterable[Correction] | AsyncIterable[Correction],
        *,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncIterator[IngestResult]:
        """As `CorrectionsClient.ingest_many`: iterate over the results with `async for`. `corrections` may be async."""
        deadline = calls.timeout_of("StreamIngest", timeout)
        return ingest_many_async(self._streams("StreamIngest", metadata), corrections, retry_for, deadline)

    async def close(self) -> None:
        """Close the channel, if the client made it. Calls under way end. A later call connects again."""
        if (channel := self._let_go()) is not None:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _connect(self, connection: Connection) -> grpc.aio.Channel:
        return connection.aio_channel()

    async def _carry_out(self, call: Call[T]) -> T:
        try:
            metadata = self._sent_with(call.metadata)
            response = await self._begin(call.method, call.request, call.timeout, metadata, call.request_id)
        except grpc.aio.AioRpcError as error:
            raise error_of_call(error, call.request_id) from None
        return call.result(response)
