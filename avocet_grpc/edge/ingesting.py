"""StreamIngest: many corrections over one call, each for itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import CorrectionsError, StorageFailed
from avocet_grpc.core.ingest import ingest
from avocet_grpc.core.model import Correction, Ingested
from avocet_grpc.edge import parse
from avocet_grpc.edge.answers import CHANGING
from avocet_grpc.edge.arrivals import LARGE
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import answers, call, principal
from avocet_grpc.edge.status import status_of

AHEAD = 2
"""Messages that are read and queued before the results of the one before them are sent."""

Outcomes = list[Ingested | Exception]


async def stream_ingest(
    backend: Backend, requests: AsyncIterable[pb.StreamIngestRequest]
) -> AsyncIterator[pb.StreamIngestResponse]:
    """Yield one response a message, sent once all its items are durable or refused."""
    queued: asyncio.Queue[asyncio.Task[Outcomes] | None] = asyncio.Queue(AHEAD)
    reading = asyncio.create_task(_read_all(backend, requests, queued))
    index = 0
    try:
        while (storing := await queued.get()) is not None:
            outcomes = await storing
            yield pb.StreamIngestResponse(results=[_result(index + i, outcome) for i, outcome in enumerate(outcomes)])
            index += len(outcomes)
        await reading
    finally:
        reading.cancel()


async def _read_all(
    backend: Backend,
    requests: AsyncIterable[pb.StreamIngestRequest],
    queued: asyncio.Queue[asyncio.Task[Outcomes] | None],
) -> None:
    """Queue each message's items for the ledger as it comes. Raises what the call must end with."""
    try:
        async for request in requests:
            parse.item_count(request)
            items = [_read(item) for item in request.items]
            await queued.put(asyncio.create_task(_stored(backend, items, request.ByteSize())))
            del request, items
    except Exception:
        await queued.put(None)
        raise
    await queued.put(None)


async def _stored(backend: Backend, items: list[Correction | CorrectionsError], size: int) -> Outcomes:
    """Return what became of each item of a message of `size` bytes, once all are durable. Raises StorageFailed."""
    works = [partial(ingest, correction=item) for item in items if isinstance(item, Correction)]
    try:
        with answers().another() as room:
            if size > LARGE:
                await room.take(size, CHANGING)
            stored = iter(await backend.write_all(works))
    except StorageFailed:
        raise
    except CorrectionsError as refusal:
        stored = itertools.repeat(refusal)
    finally:
        call().finished()
    return [next(stored) if isinstance(item, Correction) else item for item in items]


def _read(item: pb.IngestRequest) -> Correction | CorrectionsError:
    try:
        return parse.correction(item, principal())
    except CorrectionsError as error:
        # Its frames hold the item.
        return error.with_traceback(None)


def _result(index: int, outcome: Ingested | Exception) -> pb.StreamIngestResult:
    """Return the item's result. Raises every error that is not a refusal of this item."""
    if isinstance(outcome, Ingested):
        return pb.StreamIngestResult(index=index, id=outcome.id, created=outcome.created)
    if isinstance(outcome, CorrectionsError) and not isinstance(outcome, StorageFailed):
        return pb.StreamIngestResult(index=index, error=status_of(outcome))
    raise outcome
