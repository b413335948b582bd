"""UploadRun: a run that its caller sends is imported while it arrives."""

from __future__ import annotations

from collections.abc import AsyncIterable

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.imports import steps_of
from avocet_grpc.core.lines import LineCutter, RunLine
from avocet_grpc.core.model import Imported, OnConflict
from avocet_grpc.edge import parse
from avocet_grpc.edge.answers import CHANGING
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import call
from avocet_grpc.edge.importing import import_step
from avocet_grpc.edge.unfinished import Upload

MAX_PART = 3 << 20
"""Bytes of the file that one message may bring."""
WORTH_A_STEP = 64 << 10
"""Bytes of whole lines that are imported although more may follow: fewer wait for the next message."""


async def upload_run(backend: Backend, requests: AsyncIterable[pb.UploadRunRequest]) -> Imported:
    """Import the lines of all messages. What arrived before the call broke off stays, in whole steps."""
    messages = aiter(requests)
    first = await anext(messages, pb.UploadRunRequest())
    with call().lines.upload(call().end) as held:
        run = _Run(backend, parse.run_id(first.run_id), parse.on_conflict(first.on_conflict), held)
        part = first.lines
        del first
        await run.take(part)
        async for message in messages:
            for field in ("run_id", "on_conflict"):
                if getattr(message, field):
                    raise InvalidField(field, "must be in the first message only")
            part = message.lines
            del message
            await run.take(part)
        return await run.finish()


class _Run:
    """One run as it arrives: the lines that wait for more of them, and what became of the others."""

    def __init__(self, backend: Backend, run_id: str, on_conflict: OnConflict, held: Upload) -> None:
        self._backend, self._run_id, self._on_conflict, self._held = backend, run_id, on_conflict, held
        self._cutter = LineCutter()
        self._waiting: list[RunLine] = []
        self._done = Imported()

    async def take(self, part: bytes) -> None:
        """Take the next part of the file. Raises InvalidField, Overloaded."""
        if len(part) > MAX_PART:
            raise InvalidField(
                "lines", f"must have at most {MAX_PART:,} bytes a message; send the rest in the next one"
            )
        self._held.holds(len(part) + self._cutter.held + _size(self._waiting))
        with call().answers.another() as room:
            await room.take(len(part) + (self._cutter.held if b"\n" in part else 0), CHANGING)
            self._waiting += await self._backend.run_long(lambda: list(self._cutter.feed(part)))
            call().finished()
            *whole, last = [*steps_of(self._waiting)] or [[]]
            self._waiting = [] if _size(last) > WORTH_A_STEP else last
            await self._import([*whole, last] if last is not self._waiting else whole)
        self._held.holds(self._cutter.held + _size(self._waiting))

    async def finish(self) -> Imported:
        """The file has ended: import what waits. Return what became of all."""
        with call().answers.another() as room:
            await room.take(self._cutter.held + _size(self._waiting), CHANGING)
            last = await self._backend.run_long(lambda: list(self._cutter.finish()))
            await self._import([*steps_of([*self._waiting, *last])])
        return self._done

    async def _import(self, steps: list[list[RunLine]]) -> None:
        for step in steps:
            self._done += await import_step(self._backend, self._run_id, step, self._on_conflict)


def _size(lines: list[RunLine]) -> int:
    return sum(len(line.line.raw) for line in lines)
