"""The standard health service, which tells reads, writes and the shared files apart.

The servicer of grpcio-health-checking for asyncio is not used. It forgets its other watchers when one of them leaves.
At a change it waits for a watcher that does not read. At a stop it keeps the server until the grace time ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_grpc.edge.servicer import SERVICE

WRITES = f"{SERVICE}/write"
"""Not serving while the disk is full; the other two go on."""

FILES = f"{SERVICE}/files"
"""Not serving while no server keeps the shared files of a ledger that servers share; calls go on."""

Response = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):
    """The health of the server (`""`), of the service, of its writes and of the files: none serves before `set`."""

    def __init__(self) -> None:
        self._serves = dict.fromkeys(("", SERVICE, WRITES, FILES), False)
        self._files_are_kept = True
        self._changed = asyncio.Event()
        self._ended = False

    def set(self, serving: bool) -> None:
        """All of them at once; the files only if they are kept."""
        self._serves = dict.fromkeys(self._serves, serving)
        self._tell()

    def set_writes(self, serving: bool) -> None:
        """Changes can be stored, or not."""
        self._serves[WRITES] = serving
        self._tell()

    def set_files(self, kept: bool) -> None:
        """A server keeps the shared files, or none does."""
        if kept != self._files_are_kept:
            self._files_are_kept = kept
            self._tell()

    def end(self) -> None:
        """Nothing serves any longer: every watcher learns it, and its call ends."""
        self._ended = True
        self.set(False)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> Response:
        status = self._status(request.service)
        if status == Response.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "The server has no service of this name.")
        return Response(status=status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> AsyncIterator[Response]:
        told = None
        while True:
            # What changes while an answer is on its way is told by the next one.
            changed, ended = self._changed, self._ended
            if (status := self._status(request.service)) != told:
                yield Response(status=status)
                told = status
            if ended:
                return
            await changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._serves:
            return Response.SERVICE_UNKNOWN
        serves = self._serves[service] and (service != FILES or self._files_are_kept)
        return Response.SERVING if serves else Response.NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
