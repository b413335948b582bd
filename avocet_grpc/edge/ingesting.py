"""StreamIngest: many corrections over one call, each for itself."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import CorrectionsError, StorageFailed
from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.model import Correction, Ingested
from avocet_grpc.edge import validate
from avocet_grpc.edge.backend import Backend
from avocet_grpc.edge.status import status_of


async def stream_ingest(
    backend: Backend, requests: AsyncIterable[pb.StreamIngestRequest]
) -> AsyncIterator[pb.StreamIngestResponse]:
    """One response a message, sent once all its items are durable or refused."""
    index = 0
    async for request in requests:
        validate.item_count(request)
        items = [_read(item) for item in request.items]
        works = [partial(ingest, correction=item) for item in items if isinstance(item, Correction)]
        stored = iter(await backend.write_all(works))
        outcomes = [next(stored) if isinstance(item, Correction) else item for item in items]
        yield pb.StreamIngestResponse(results=[_result(index + i, outcome) for i, outcome in enumerate(outcomes)])
        index += len(outcomes)


def _read(item: pb.IngestRequest) -> Correction | CorrectionsError:
    try:
        return validate.correction(item)
    except CorrectionsError as error:
        return error


def _result(index: int, outcome: Ingested | Exception) -> pb.StreamIngestResult:
    """The item's result. Raises what is no refusal of the one item."""
    if isinstance(outcome, Ingested):
        return pb.StreamIngestResult(index=index, id=outcome.id, created=outcome.created)
    if isinstance(outcome, CorrectionsError) and not isinstance(outcome, StorageFailed):
        return pb.StreamIngestResult(index=index, error=status_of(outcome))
    raise outcome
