"""StreamExport: batches of examples that the ledger holds encoded, handed to gRPC as bytes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import RevisionExpired
from avocet_grpc.core.export import ExportCursor, ResumeTokens, open_export
from avocet_grpc.core.ports.exports import ExportBatches
from avocet_grpc.core.ports.ledger import Reads
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import answers
from avocet_grpc.edge.parse import MAX_BATCH, ExportQuery

AIM_BYTES = 480_000
"""Of one response, by the mean size of what was sent: most then have less than MAX_BYTES, and need not be cut."""
MAX_BYTES = 500_000
"""Of one response; a larger example comes alone. A stream that nobody reads holds it twice: here, and in gRPC."""
QUICK_S = 0.05
"""A response that was taken off so soon has a reader who keeps up: the next one is read ahead for it."""
FIRST_GUESS_BYTES = 2_048


class Export:
    """One export under way: where it stands, and what it has sent."""

    def __init__(self, cursor: ExportCursor, batch_size: int) -> None:
        self.ended = False
        self._total = cursor.total
        self._selection = cursor.selection
        self._tokens = ResumeTokens(cursor.selection)
        self._after_key = cursor.after_key
        self._most = batch_size
        self._sent = 0
        self._bytes = 0
        self._ids = hashlib.sha256()

    def next_response(self, reader: ExportBatches, most_bytes: int) -> bytes | None:
        """Return the next response, serialized; None after the last one.

        Raises NoRoom if one example is larger, RevisionExpired in place of a summary of less than the total.
        """
        if self.ended:
            return None
        first = self._sent == 0
        examples = self._next_batch(reader, most_bytes)
        self.ended = examples is None
        if self.ended and self._sent != self._total:
            # It went on for so long that what it needs was pruned.
            raise RevisionExpired("the revision is no longer kept; start the export again")
        return self._response(examples or b"", first=first)

    def _next_batch(self, reader: ExportBatches, most_bytes: int) -> bytes | None:
        """Return the examples of the next response, joined; None at the end."""
        mean = self._bytes // self._sent if self._sent else FIRST_GUESS_BYTES
        aim = min(most_bytes, AIM_BYTES)
        most = min(self._most or MAX_BATCH, aim // max(1, mean) + 1)
        batch = reader.export_batch(self._selection, self._after_key, most, most_bytes)
        if batch is None:
            return None
        self._after_key = batch.last_key
        self._sent += batch.count
        self._bytes += len(batch.encoded)
        self._ids.update(batch.ids)
        return batch.encoded

    def _response(self, examples: bytes, *, first: bool) -> bytes:
        """Return the joined examples and the fields beside them; at the end the summary."""
        response = pb.StreamExportResponse(
            resume_token=self._tokens.after(self._after_key),
            revision=self._selection.revision,
            total=self._total if first else 0,
        )
        if self.ended:
            response.summary.example_count = self._sent
            response.summary.ids_sha256 = self._ids.hexdigest()
        return examples + response.SerializeToString()


async def stream_export(backend: Backend, query: ExportQuery) -> AsyncIterator[bytes]:
    """Yield the responses of one export, serialized; the last one has the summary."""
    cursor = await backend.read(
        lambda reader: open_export(
            reader,
            filter=query.filter,
            shard_index=query.shard_index,
            shard_count=query.shard_count,
            split=query.split,
            at_revision=query.at_revision,
            since_revision=query.since_revision,
            resume_token=query.resume_token,
            unique_prompts=query.unique_prompts,
            snapshot=query.snapshot,
        )
    )
    export = Export(cursor, query.batch_size)
    hold = answers()
    clock = asyncio.get_running_loop().time
    ahead: asyncio.Future[bytes | None] | None = None
    keeps_up = False

    def make(most_bytes: int) -> Awaitable[bytes | None]:
        return backend.read_batches(Reads(partial(export.next_response, most_bytes=most_bytes), (), most_bytes))

    def read() -> asyncio.Future[bytes | None]:
        return asyncio.ensure_future(hold.make(MAX_BYTES, make))

    try:
        while (response := await (ahead or read())) is not None:
            ahead = read() if keeps_up else None
            began = clock()
            yield response
            keeps_up = clock() - began < QUICK_S
    finally:
        if ahead is not None:
            ahead.cancel()
