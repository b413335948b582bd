"""The floor: a server on the same stack whose handlers do nothing; `python -m tests.bench.floor DIR [--fsync]`.

DIR holds what the service itself answered, one file a method: Submit and Ingest answer such a message, Queue and Stats
those bytes, StreamExport those batches (each after its length, 4 bytes). With --fsync each Submit writes 4 KB first
and waits for the disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.edge.servicer import method_handlers

BLOCK = b"x" * 4096


class Floor(corrections_pb2_grpc.CorrectionsServiceServicer):
    """Answers what it was given."""

    def __init__(self, directory: Path, fsync: bool) -> None:
        self._submitted = pb.SubmitResponse.FromString(_read(directory / "Submit"))
        self._ingested = pb.IngestResponse.FromString(_read(directory / "Ingest"))
        self._batches = split(_read(directory / "StreamExport"))
        self._file = os.open(directory / "fsync", os.O_CREAT | os.O_WRONLY | os.O_TRUNC) if fsync else None

    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitResponse:
        if self._file is not None:
            os.write(self._file, BLOCK)
            os.fsync(self._file)
        return self._submitted

    async def Ingest(self, request: pb.IngestRequest, context: Any) -> pb.IngestResponse:
        return self._ingested

    async def StreamExport(self, request: pb.StreamExportRequest, context: Any) -> AsyncIterator[Any]:
        for batch in self._batches:
            yield batch


def answering(prepared: bytes) -> Any:
    """A handler that answers prepared bytes, without a message."""

    async def answer(request: Any, context: Any) -> bytes:
        return prepared

    return answer


def split(data: bytes) -> list[bytes]:
    """The batches of a file of them."""
    batches, at = list[bytes](), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        batches.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return batches


def join(batches: list[bytes]) -> bytes:
    """The batches as one file."""
    return b"".join(len(batch).to_bytes(4, "big") + batch for batch in batches)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


async def serve(directory: Path, fsync: bool) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 16 << 20),))
    prepared: dict[str, Any] = {
        "Queue": grpc.unary_unary_rpc_method_handler(answering(_read(directory / "Queue")), pb.QueueRequest.FromString),
        "Stats": grpc.unary_unary_rpc_method_handler(answering(_read(directory / "Stats")), pb.StatsRequest.FromString),
    }
    service = "avocet.corrections.v1.CorrectionsService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, prepared),))
    server.add_generic_rpc_handlers((method_handlers(Floor(directory, fsync)),))  # type: ignore[abstract, arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", file=sys.stderr, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), "--fsync" in sys.argv))
