"""The standard health service, which tells reads and writes apart.

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

Response = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]


class Health(health_pb2_grpc.HealthServicer):
    """The health of the server (`""`), of the service, and of its writes. Nothing serves until `set` says so."""

    def __init__(self) -> None:
        self._serves = dict.fromkeys(("", SERVICE, WRITES), False)
        self._changed = asyncio.Event()
        self._ended = False

    def set(self, serving: bool) -> None:
        """All three at once."""
        self._serves = dict.fromkeys(self._serves, serving)
        self._tell()

    def set_writes(self, serving: bool) -> None:
        """Changes can be stored, or not."""
        self._serves[WRITES] = serving
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
            changed = self._changed
            if (status := self._status(request.service)) != told:
                yield Response(status=status)
                told = status
            if self._ended:
                return
            await changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._serves:
            return Response.SERVICE_UNKNOWN
        return Response.SERVING if self._serves[service] else Response.NOT_SERVING

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
