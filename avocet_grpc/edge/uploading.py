"""UploadRun: a run that its caller sends is imported while it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterable
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.imports import steps_of
from avocet_grpc.core.lines import LineCutter, RunLine
from avocet_grpc.core.model import Imported
from avocet_grpc.edge import parse
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.importing import import_step

MAX_PART = 3 << 20
"""Bytes of the file that one message may bring."""


async def upload_run(backend: Backend, requests: AsyncIterable[pb.UploadRunRequest]) -> Imported:
    """Import the lines of all messages. What arrived before the call broke off stays, in whole steps."""
    messages = aiter(requests)
    first = await anext(messages, pb.UploadRunRequest())
    run_id, on_conflict = parse.run_id(first.run_id), parse.on_conflict(first.on_conflict)
    cutter, waiting, done = LineCutter(), list[RunLine](), Imported()
    message: pb.UploadRunRequest | None = first
    while message is not None:
        waiting += await backend.run_long(partial(_lines, cutter, message))
        *whole, waiting = [*steps_of(waiting)] or [[]]
        for step in whole:
            done += await import_step(backend, run_id, step, on_conflict)
        message = await anext(messages, None)
        for field in ("run_id", "on_conflict"):
            if message is not None and getattr(message, field):
                raise InvalidField(field, "must be in the first message only")
    for step in steps_of([*waiting, *cutter.finish()]):
        done += await import_step(backend, run_id, step, on_conflict)
    return done


def _lines(cutter: LineCutter, request: pb.UploadRunRequest) -> list[RunLine]:
    if len(request.lines) > MAX_PART:
        raise InvalidField("lines", f"must have at most {MAX_PART:,} bytes a message; send the rest in the next one")
    return list(cutter.feed(request.lines))
