"""StreamIngest: many corrections over one call, each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import CorrectionsError, StorageFailed
from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.model import Correction, Ingested
from avocet_grpc.edge import validate
from avocet_grpc.edge.backend import Backend
from avocet_grpc.edge.status import status_of

Outcome = asyncio.Future[Ingested] | CorrectionsError


async def stream_ingest(
    backend: Backend, requests: AsyncIterable[pb.StreamIngestRequest]
) -> AsyncIterator[pb.StreamIngestResponse]:
    """One response a message, sent once all its items are durable or refused."""
    index = 0
    async for request in requests:
        validate.item_count(request)
        # All are queued before the first is awaited, so that they share commits.
        outcomes = [_queue(backend, item) for item in request.items]
        settled = await _settle(outcomes)
        results = [_result(index + i, outcome) for i, outcome in enumerate(settled)]
        index += len(results)
        yield pb.StreamIngestResponse(results=results)


def _queue(backend: Backend, item: pb.IngestRequest) -> Outcome:
    try:
        correction: Correction = validate.correction(item)
    except CorrectionsError as error:
        return error
    return backend.queue_write(partial(ingest, correction=correction))


async def _settle(outcomes: list[Outcome]) -> list[Ingested | BaseException]:
    futures = [outcome for outcome in outcomes if isinstance(outcome, asyncio.Future)]
    settled = iter(await asyncio.gather(*futures, return_exceptions=True))
    return [next(settled) if isinstance(outcome, asyncio.Future) else outcome for outcome in outcomes]


def _result(index: int, outcome: Ingested | BaseException) -> pb.StreamIngestResult:
    """The item's result. Raises what is no refusal of the one item."""
    if isinstance(outcome, Ingested):
        return pb.StreamIngestResult(index=index, id=outcome.id, created=outcome.created)
    if isinstance(outcome, CorrectionsError) and not isinstance(outcome, StorageFailed):
        return pb.StreamIngestResult(index=index, error=status_of(outcome))
    raise outcome
