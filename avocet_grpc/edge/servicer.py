"""The RPCs: each checks its request, calls one command, and converts the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, TypeVar

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.core import review
from avocet_grpc.core.errors import CandidateNotFound, InvalidField
from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.ports.ledger import Reader, Reads
from avocet_grpc.edge import convert, parse
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import principal
from avocet_grpc.edge.checks import page_size
from avocet_grpc.edge.exporting import stream_export
from avocet_grpc.edge.importing import import_in_steps
from avocet_grpc.edge.ingesting import stream_ingest
from avocet_grpc.edge.queue_response import described_runs, queue_response
from avocet_grpc.edge.same_prompt import fill_same_prompt

SERVICE: str = pb.DESCRIPTOR.services_by_name["CorrectionsService"].full_name
Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request", pb.SubmitRequest, pb.UndoRequest)


class CorrectionsServicer(corrections_pb2_grpc.CorrectionsServiceServicer):
    """`avocet.corrections.v1.CorrectionsService`; its domain errors are raised for the interceptor to map."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

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

    async def Queue(self, request: pb.QueueRequest, context: Context) -> pb.QueueResponse:
        return await self._backend.read(partial(queue_response, query=parse.queue_query(request)))

    async def GetCandidate(self, request: pb.GetCandidateRequest, context: Context) -> pb.GetCandidateResponse:
        find = partial(_find, id=parse.candidate_id(request.id), include_record=request.include_record)
        return pb.GetCandidateResponse(candidate=await self._backend.read(find))

    async def Submit(self, request: pb.SubmitRequest, context: Context) -> pb.SubmitResponse:
        decision = parse.decision(_signed(request), principal())
        decide = Reads(partial(review.submit, decision=decision), (decision.id,))
        return pb.SubmitResponse(candidate=convert.candidate_message(await self._backend.write(decide)))

    async def Undo(self, request: pb.UndoRequest, context: Context) -> pb.UndoResponse:
        undo = partial(review.undo, request=parse.undo_request(_signed(request), principal()))
        return pb.UndoResponse(candidate=convert.candidate_message(await self._backend.write(undo)))

    async def StreamExport(self, request: pb.StreamExportRequest, context: Context) -> AsyncIterator[Any]:
        async for response in stream_export(self._backend, parse.export_query(request)):
            yield response

    async def Stats(self, request: pb.StatsRequest, context: Context) -> pb.StatsResponse:
        filter = parse.candidate_filter(request.filter)
        return convert.stats_message(await self._backend.read(lambda reader: reader.stats(filter)))

    async def GetConfig(self, request: pb.GetConfigRequest, context: Context) -> pb.GetConfigResponse:
        directory = await self._backend.run(self._backend.config.bench_results_dir)
        return pb.GetConfigResponse(config=pb.Config(bench_results_dir=directory))

    async def SetConfig(self, request: pb.SetConfigRequest, context: Context) -> pb.SetConfigResponse:
        directory = parse.bench_results_dir(request)
        await self._backend.run(lambda: self._backend.config.set_bench_results_dir(directory))
        return pb.SetConfigResponse(config=pb.Config(bench_results_dir=directory))

    async def Ingest(self, request: pb.IngestRequest, context: Context) -> pb.IngestResponse:
        store = partial(ingest, correction=parse.correction(request, principal()))
        ingested = await self._backend.write(store)
        return pb.IngestResponse(id=ingested.id, created=ingested.created)

    async def StreamIngest(self, request_iterator: Any, context: Context) -> AsyncIterator[pb.StreamIngestResponse]:
        async for response in stream_ingest(self._backend, request_iterator):
            yield response

    async def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        return convert.version_message(self._backend.version)


def method_handlers(servicer: CorrectionsServicer) -> grpc.GenericRpcHandler:
    """The service as gRPC takes it; StreamExport's responses are bytes already."""
    catcher = _Catcher()
    corrections_pb2_grpc.add_CorrectionsServiceServicer_to_server(servicer, catcher)  # type: ignore[arg-type]
    handlers = dict(catcher.handlers)
    generated = handlers["StreamExport"]
    export: Any = servicer.StreamExport
    handlers["StreamExport"] = grpc.unary_stream_rpc_method_handler(export, generated.request_deserializer, None)
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
    """The request with the token's name as its reviewer. Raises InvalidField where it names somebody else."""
    name = principal()
    if name:
        if request.reviewer not in ("", name):
            raise InvalidField("reviewer", "must be left out or be the token's name: nobody decides as somebody else")
        request.reviewer = name
    return request


def _find(reader: Reader, id: str, include_record: bool) -> pb.Candidate:
    candidate = reader.candidate(id)
    if candidate is None:
        raise CandidateNotFound(id)
    message = convert.candidate_message(candidate, include_record=include_record)
    fill_same_prompt(reader, [message])
    return message
