"""The sync client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

import avocet_client.calls as calls
from avocet_client.backoff import RETRY_FOR_SECONDS
from avocet_client.bulk import ingest_many
from avocet_client.bulk_state import Correction, IngestResult
from avocet_client.calls import Call
from avocet_client.connection import Connection, Metadata
from avocet_client.errors import error_of_call
from avocet_client.export_options import ExportOptions, export_request
from avocet_client.exports import Export
from avocet_client.health import SECONDS, SERVICE, Health, health_call, health_word
from avocet_client.team_client import TeamClient
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import Action, CandidateFilter, ClaimWord, FailureCategory, Order

T = TypeVar("T")


class CorrectionsClient(TeamClient):
    """Calls the corrections service. Safe for threads. Use it as a context manager, or `close` it.

    `target` is an address or a channel of your own. Make the channel with `channel_options()`, or nothing is retried.
    The client does not close your channel. `token` is sent as `authorization: Bearer` with every call; without `tls` it
    is not encrypted. `options` are channel options that win over this client's.

    A client of an address connects at its first call. It connects again in a process that was forked or unpickled it.

    `timeout` is in seconds in every method. None means the method's own deadline of `service_config.json`. Every method
    raises InvalidField for half a character in a text, and RequestTooLarge, before anything is sent.
    """

    def list_runs(
        self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.ListRunsResponse:
        """Return one page of the benchmark runs, newest name first. `page_size` 0 means 50, at most 500."""
        return self._carry_out(
            calls.list_runs(page_size=page_size, page_token=page_token, timeout=timeout, metadata=metadata)
        )

    def import_run(
        self,
        run_id: str,
        *,
        on_conflict: pb.OnConflict.ValueType = pb.ON_CONFLICT_UNSPECIFIED,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> pb.ImportResponse:
        """Import a benchmark run's candidates, in steps. What the store knows already is skipped.

        A record whose id is known with other content is counted in `conflicts` and not taken, unless `on_conflict` is
        `ON_CONFLICT_QUALIFY`: then its id becomes `<run_id>/<id>`.
        Raises RunNotFound, InvalidField. It is not retried by itself; to call it again does no harm.
        """
        return self._carry_out(calls.import_run(run_id, on_conflict=on_conflict, timeout=timeout, metadata=metadata))

    def queue(
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
        """Return one page of the candidates in review.

        Follow `next_page_token` to see each candidate once. `page` (from 1) jumps to a page. `per_page` 0 means 20, at
        most 500. `include_record` fills `record_json`. `claims` chooses by who holds a candidate; `mine` means
        `reviewer`. Raises InvalidField, also for a token that comes with another filter or order.
        """
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
        return self._carry_out(call)

    def get_candidate(
        self, id: str, *, include_record: bool = False, timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.Candidate:
        """Return one candidate, in review or not, with its `record_json` if you ask. Raises CandidateNotFound."""
        return self._carry_out(
            calls.get_candidate(id, include_record=include_record, timeout=timeout, metadata=metadata)
        )

    def submit(
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
        """Decide a candidate in review, and return it as the decision left it. The decision is then durable.

        `correct` needs a `corrected_response`, or a `corrected_message` if the answer is a tool call:
        `{"role": "assistant", "content": None, "tool_calls": [...]}`. A `request_id` is made if none is given. Raises
        CandidateNotFound, NotInReview, RevisionMismatch, Claimed, ClaimLost, InvalidField.
        """
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
        return self._carry_out(call)

    def undo(
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

        Raises CandidateNotFound, AlreadyInReview, RevisionMismatch, InvalidField.
        """
        call = calls.undo(
            id,
            reviewer=reviewer,
            expected_revision=expected_revision,
            request_id=request_id,
            timeout=timeout,
            metadata=metadata,
        )
        return self._carry_out(call)

    def stats(
        self, *, filter: CandidateFilter | None = None, timeout: float | None = None, metadata: Metadata = ()
    ) -> pb.StatsResponse:
        """Return counts of the candidates, and the store's revision."""
        return self._carry_out(calls.stats(filter=filter, timeout=timeout, metadata=metadata))

    def get_version(self, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.GetVersionResponse:
        """Return the server's version, its engine, and since when it has served."""
        return self._carry_out(calls.get_version(timeout=timeout, metadata=metadata))

    def version(self, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.GetVersionResponse:
        """The same as `get_version`."""
        return self.get_version(timeout=timeout, metadata=metadata)

    def health(self, *, service: str = SERVICE, timeout: float = SECONDS, metadata: Metadata = ()) -> Health:
        """Return `serving`, or how the service is otherwise; "" for the server as a whole. It asks for no token.

        Raises TransportError if nobody answers.
        """
        check, request = health_call(self.channel(), service)
        try:
            return health_word(check(request, timeout=timeout, metadata=self._sent_with(metadata)))
        except grpc.RpcError as error:
            raise error_of_call(error) from None

    def get_config(self, *, timeout: float | None = None, metadata: Metadata = ()) -> pb.Config:
        """Return the configuration that the service shares with the legacy application."""
        return self._carry_out(calls.get_config(timeout=timeout, metadata=metadata))

    def set_config(self, *, bench_results_dir: str, timeout: float | None = None, metadata: Metadata = ()) -> pb.Config:
        """Set the directory of benchmark runs on the server: an absolute path, or "" for none.

        Raises InvalidField, ConfigUnreadable. It is not retried by itself; to call it again does no harm.
        """
        return self._carry_out(
            calls.set_config(bench_results_dir=bench_results_dir, timeout=timeout, metadata=metadata)
        )

    def ingest(
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
        """Store a correction that a user of yours made, as an approved record. It is durable when this returns.

        Raises IngestionNotConfigured, TokenMissing, TokenRefused, InvalidField, RequestTooLarge. After TryLater or
        TransportError keep the correction, and send it again with the error's `request_id`.
        """
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
        return self._carry_out(call)

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
    ) -> Export:
        """Iterate over the approved examples, each once, in order of approval, as they are at one revision.

        `options` are those of `ExportOptions`: filter, split, revisions. The `shard_count` shards are disjoint and
        together complete. `batch_size` 0 is the server's choice. A broken stream is continued, over an outage of up to
        `retry_for` seconds. `timeout` bounds one stream; the next stream continues it.
        """
        request = export_request(options, shard_index=shard_index, shard_count=shard_count, batch_size=batch_size)
        return Export(self._streams("StreamExport", metadata), request, retry_for, timeout)

    def ingest_many(
        self,
        corrections: Iterable[Correction],
        *,
        retry_for: float = RETRY_FOR_SECONDS,
        timeout: float | None = None,
        metadata: Metadata = (),
    ) -> Iterator[IngestResult]:
        """Store many corrections over one stream. Iterate over the results; nothing is sent before you do.

        There is one result for each correction, in order, once it is durable or refused. A refused one has its error,
        also one that cannot be sent. `corrections` is read as fast as the server stores, and sent 200 at a time. For a
        source that has one now and then use `ingest`. A broken stream is continued, over an outage of up to `retry_for`
        seconds, and nothing is stored twice. `timeout` bounds one stream. With request ids of your own, a correction
        that was sent before an error may be sent again. Raises what `ingest` raises about token and service, for the
        whole call, and what `corrections` raises.
        """
        deadline = calls.timeout_of("StreamIngest", timeout)
        return ingest_many(self._streams("StreamIngest", metadata), corrections, retry_for, deadline)

    def close(self) -> None:
        """Close the channel, if the client made it. Calls under way end. A later call connects again."""
        if (channel := self._let_go()) is not None:
            channel.close()

    def __enter__(self) -> Self:
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

    def _carry_out(self, call: Call[T]) -> T:
        try:
            metadata = self._sent_with(call.metadata)
            response = self._begin(call.method, call.request, call.timeout, metadata, call.request_id)
        except grpc.RpcError as error:
            raise error_of_call(error, call.request_id) from None
        return call.result(response)


def _connected(connection: Connection) -> CorrectionsClient:
    return CorrectionsClient(connection.address, token=connection.token, tls=connection.tls, options=connection.options)
