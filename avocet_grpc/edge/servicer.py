"""The RPCs: each checks its request, calls one command, and converts the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.core import claims, review, snapshots
from avocet_grpc.core.batch import submit_all
from avocet_grpc.core.errors import CandidateNotFound, InvalidField
from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.core.ports.ledger import Reads
from avocet_grpc.core.ports.team import TeamReader, TeamTransaction
from avocet_grpc.edge import convert, parse
from avocet_grpc.edge.answers import CHANGING
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.batch import batch_request, batch_response
from avocet_grpc.edge.call_context import answers, principal
from avocet_grpc.edge.candidate_cache import CandidateCache
from avocet_grpc.edge.change_hub import ChangeHub
from avocet_grpc.edge.changes import history_response
from avocet_grpc.edge.checks import page_size
from avocet_grpc.edge.claims import (
    claim_bytes,
    claim_request,
    claim_response,
    lease_ids,
    lease_seconds,
    postpone_seconds,
    released_response,
    renewed_response,
    show_claims,
)
from avocet_grpc.edge.exporting import stream_export
from avocet_grpc.edge.importing import import_in_steps
from avocet_grpc.edge.ingesting import stream_ingest
from avocet_grpc.edge.listing import list_query, list_response
from avocet_grpc.edge.parse_changes import history_query, watch_query
from avocet_grpc.edge.queue_response import described_runs, queue_response
from avocet_grpc.edge.same_prompt import fill_same_prompt
from avocet_grpc.edge.snapshots import SNAPSHOTS_PAGE, snapshot_message, snapshot_request
from avocet_grpc.edge.uploading import upload_run
from avocet_grpc.edge.watching import Watching

SERVICE: str = pb.DESCRIPTOR.services_by_name["CorrectionsService"].full_name
T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", pb.SubmitRequest, pb.UndoRequest, pb.ClaimRequest, pb.QueueRequest)


class CorrectionsServicer(corrections_pb2_grpc.CorrectionsServiceServicer):
    """`avocet.corrections.v1.CorrectionsService`; its domain errors are raised for the interceptor to map."""

    def __init__(self, backend: Backend, hub: ChangeHub) -> None:
        self._backend = backend
        self._watching = Watching(backend, hub)
        self._encoded = CandidateCache()

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        size = page_size("page_size", request.page_size, parse.RUNS_PAGE)
        runs, token = await self._backend.run_long(lambda: described_runs(self._backend.runs, size, request.page_token))
        known = await self._backend.read(lambda reader: reader.known_run_ids([run.run_id for run in runs]))
        return pb.ListRunsResponse(
            runs=[convert.run_message(run, run.run_id in known) for run in runs], next_page_token=token
        )

    async def Import(self, request: pb.ImportRequest, context: Context) -> pb.ImportResponse:
        run_id, on_conflict = parse.run_id(request.run_id), parse.on_conflict(request.on_conflict)
        lines = await self._backend.run_long(lambda: self._backend.runs.lines(run_id))
        return convert.imported_message(await import_in_steps(self._backend, run_id, lines, on_conflict))

    async def Queue(self, request: pb.QueueRequest, context: Context) -> Any:
        query = parse.queue_query(_signed(request))
        return await self._read(partial(queue_response, query=query, cache=self._encoded))

    async def GetCandidate(self, request: pb.GetCandidateRequest, context: Context) -> pb.GetCandidateResponse:
        find = partial(_candidate, id=parse.candidate_id(request.id), include_record=request.include_record)
        return pb.GetCandidateResponse(candidate=await self._read(find))

    async def Submit(self, request: pb.SubmitRequest, context: Context) -> pb.SubmitResponse:
        decision = parse.decision(_signed(request), principal())
        decided = await self._write(partial(review.submit, decision=decision), decision.id)
        response = pb.SubmitResponse()
        convert.fill_candidate(response.candidate, decided)
        return response

    async def Undo(self, request: pb.UndoRequest, context: Context) -> pb.UndoResponse:
        undo = partial(review.undo, request=parse.undo_request(_signed(request), principal()))
        response = pb.UndoResponse()
        convert.fill_candidate(response.candidate, await self._write(undo))
        return response

    async def StreamExport(self, request: pb.StreamExportRequest, context: Context) -> AsyncIterator[Any]:
        async for response in stream_export(self._backend, parse.export_query(request)):
            yield response

    async def Stats(self, request: pb.StatsRequest, context: Context) -> pb.StatsResponse:
        filter = parse.candidate_filter(request.filter)
        return await self._backend.read(partial(_stats, filter=filter))

    async def GetConfig(self, request: pb.GetConfigRequest, context: Context) -> pb.GetConfigResponse:
        directory = await self._backend.run_long(self._backend.config.bench_results_dir)
        return pb.GetConfigResponse(config=pb.Config(bench_results_dir=directory))

    async def SetConfig(self, request: pb.SetConfigRequest, context: Context) -> pb.SetConfigResponse:
        directory = parse.bench_results_dir(request)
        await self._backend.run_long(lambda: self._backend.config.set_bench_results_dir(directory))
        return pb.SetConfigResponse(config=pb.Config(bench_results_dir=directory))

    async def Ingest(self, request: pb.IngestRequest, context: Context) -> pb.IngestResponse:
        store = partial(ingest, correction=parse.correction(request, principal()))
        # Up to 16 MB that nobody needs while the change waits for the disk.
        del request
        ingested = await self._backend.write(store)
        return pb.IngestResponse(id=ingested.id, created=ingested.created)

    async def StreamIngest(self, request_iterator: Any, context: Context) -> AsyncIterator[pb.StreamIngestResponse]:
        async for response in stream_ingest(self._backend, request_iterator):
            yield response

    async def ListCandidates(self, request: pb.ListCandidatesRequest, context: Context) -> pb.ListCandidatesResponse:
        return await self._read(partial(list_response, query=list_query(request), search=self._backend.search))

    async def ListHistory(self, request: pb.ListHistoryRequest, context: Context) -> pb.ListHistoryResponse:
        return await self._read(partial(history_response, query=history_query(request)))

    async def Watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[Any]:
        async for response in self._watching.watch(watch_query(request)):
            yield response

    async def BatchSubmit(self, request: pb.BatchSubmitRequest, context: Context) -> pb.BatchSubmitResponse:
        decide = partial(submit_all, request=batch_request(request, _signed))
        return batch_response(await self._backend.write(decide))

    async def Claim(self, request: pb.ClaimRequest, context: Context) -> Any:
        asked = claim_request(_signed(request))
        take = partial(claims.claim, request=asked, bytes_of=partial(claim_bytes, asked.reviewer, self._encoded))
        answer = partial(claim_response, cache=self._encoded)
        return await answers().work(lambda most: self._backend.write_and_answer(Reads(take, (), most), answer))

    async def RenewClaims(self, request: pb.RenewClaimsRequest, context: Context) -> pb.RenewClaimsResponse:
        leases, seconds = lease_ids(request.lease_ids), lease_seconds(request.lease_seconds)
        renew = partial(claims.renew, lease_ids=leases, lease_seconds=seconds, principal=principal())
        return renewed_response(await self._backend.write(renew))

    async def ReleaseClaims(self, request: pb.ReleaseClaimsRequest, context: Context) -> pb.ReleaseClaimsResponse:
        leases, seconds = lease_ids(request.lease_ids), postpone_seconds(request.postpone_seconds)
        release = partial(claims.release, lease_ids=leases, postpone_seconds=seconds, principal=principal())
        return released_response(await self._backend.write(release))

    async def UploadRun(self, request_iterator: Any, context: Context) -> pb.UploadRunResponse:
        return convert.uploaded_message(await upload_run(self._backend, request_iterator))

    async def CreateSnapshot(self, request: pb.CreateSnapshotRequest, context: Context) -> pb.CreateSnapshotResponse:
        create = partial(snapshots.create_snapshot, request=snapshot_request(request))
        return pb.CreateSnapshotResponse(snapshot=snapshot_message(await self._backend.write(create)))

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: Context) -> pb.GetSnapshotResponse:
        find = partial(snapshots.get_snapshot, name=parse.snapshot_name("name", request.name))
        return pb.GetSnapshotResponse(snapshot=snapshot_message(await self._backend.read(find)))

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Context) -> pb.ListSnapshotsResponse:
        size = page_size("page_size", request.page_size, SNAPSHOTS_PAGE)
        page = partial(snapshots.snapshots_page, page_size=size, page_token=request.page_token)
        found, token = await self._backend.read(page)
        return pb.ListSnapshotsResponse(snapshots=map(snapshot_message, found), next_page_token=token)

    async def DeleteSnapshot(self, request: pb.DeleteSnapshotRequest, context: Context) -> pb.DeleteSnapshotResponse:
        name = parse.snapshot_name("name", request.name)
        await self._backend.write(partial(snapshots.delete_snapshot, name=name))
        return pb.DeleteSnapshotResponse()

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        return convert.version_message(self._backend.version)

    async def _read(self, work: Callable[[TeamReader], T]) -> T:
        """Read lines of any length, once there is room for them."""
        return await answers().read(lambda most: self._backend.read(Reads(work, (), most)))

    async def _write(self, work: Callable[[TeamTransaction], T], *ids: str) -> T:
        """Change records of any length, once there is room for them."""
        return await answers().work(lambda most: self._backend.write(Reads(work, ids, most)), CHANGING)


def method_handlers(servicer: CorrectionsServicer) -> grpc.GenericRpcHandler:
    """Return the service as gRPC takes it; the responses of Queue, Claim, StreamExport and Watch are bytes already."""
    catcher = _Catcher()
    corrections_pb2_grpc.add_CorrectionsServiceServicer_to_server(servicer, catcher)  # type: ignore[arg-type]
    handlers = dict(catcher.handlers)
    written: Mapping[str, Any] = {
        "Queue": servicer.Queue,
        "Claim": servicer.Claim,
        "StreamExport": servicer.StreamExport,
        "Watch": servicer.Watch,
    }
    for name, method in written.items():
        handler = handlers[name]
        streams = handler.response_streaming
        make: Any = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        handlers[name] = make(method, handler.request_deserializer, None)
    return grpc.method_handlers_generic_handler(SERVICE, handlers)


class _Catcher:
    """Stands in for a server, to get at the generated table of methods."""

    def __init__(self) -> None:
        self.handlers: Mapping[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        pass

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        self.handlers = handlers


def _signed(request: Request) -> Request:
    """Return the request with the token's name as its reviewer. Raises InvalidField if it names somebody else."""
    name = principal()
    if name:
        if request.reviewer not in ("", name):
            raise InvalidField("reviewer", "must be left out or be the token's name: nobody decides as somebody else")
        request.reviewer = name
    return request


def _candidate(reader: TeamReader, id: str, include_record: bool) -> pb.Candidate:
    candidate = reader.candidate(id)
    if candidate is None:
        raise CandidateNotFound(id)
    message = convert.candidate_message(candidate, include_record=include_record)
    fill_same_prompt(reader, [message])
    show_claims(reader, [(candidate, message)])
    return message


def _stats(reader: TeamReader, filter: CandidateFilter) -> pb.StatsResponse:
    response = convert.stats_message(reader.stats(filter))
    response.claimed = reader.claims.count(filter)
    return response
