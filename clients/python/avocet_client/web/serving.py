"""Run an ASGI application on one address until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

logger = logging.getLogger("uvicorn.error")

STOP_SECONDS = 5.0
"""How long requests under way may take once the process is told to stop."""
CUT_SECONDS = 1.0
"""How long they may take to notice that their connection was cut after that."""
HEAD_SECONDS = 10.0
"""How long a connection may take until it has sent the head of a request."""
BODY_SECONDS = 120.0
"""How long a request's body may take."""
MOST_CONNECTIONS = 1_000
RESERVED_DESCRIPTORS = 32
"""What this process itself needs, calls of the service among it."""
LEAST_CONNECTIONS = 8
BACKLOG = 2_048
ACCEPT_AGAIN_SECONDS = 0.1
SAY_AGAIN_SECONDS = 60.0
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Application = Callable[..., Awaitable[Any]]


class _Connection(H11Protocol):
    """A connection that has to send its request in time. uvicorn itself waits for ever."""

    _awaited: object = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_timer()
        super().connection_lost(exc)

    def _watch(self) -> None:
        state = self.conn.their_state
        if state is self._awaited:
            return
        self._end_timer()
        self._awaited = state
        seconds = {h11.IDLE: HEAD_SECONDS, h11.SEND_BODY: BODY_SECONDS}.get(state)
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self.transport.close()

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """A server that accepts no more connections than it has descriptors for, and that ends in time.

    Its signals are handled by this module: uvicorn would raise them again at its end. asyncio's own way to accept
    reports each failure, thousands of them in a second.
    """

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop
        self._accepting: list[asyncio.Task[None]] = []
        self._silent_until = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        for listening in sockets or ():
            listening.setblocking(False)
            listening.listen(BACKLOG)
            self._accepting.append(asyncio.create_task(self._accept(listening)))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listening in sockets or ():
            listening.close()
        self._stop()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._finished(STOP_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._finished(CUT_SECONDS)
        left = list(self.server_state.tasks)
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _finished(self, within: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while (self.server_state.connections or self.server_state.tasks) and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.02)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if len(self.server_state.connections) >= _most_connections():
                self._say("There are too many connections")
                await asyncio.sleep(ACCEPT_AGAIN_SECONDS)
                continue
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._say(f"There is no room for more connections ({error.strerror})")
                    await asyncio.sleep(ACCEPT_AGAIN_SECONDS)
                continue  # else the caller was gone before
            try:
                await loop.connect_accepted_socket(self._connection, accepted)
            except OSError:
                accepted.close()

    def _connection(self) -> _Connection:
        return _Connection(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    def _say(self, what: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._silent_until:
            logger.warning("%s; others wait until one ends.", what)
        self._silent_until = now + SAY_AGAIN_SECONDS


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 picks a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


async def serve(
    app: Application, listening: socket.socket, ready: Callable[[], None], stop: Callable[[], None] = lambda: None
) -> None:
    """Serve `app` on the socket until a signal comes.

    `ready` is called once before the first request, `stop` once the process is told to stop: it ends what has no end.
    """

    async def answered(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            if not server.should_exit:
                raise  # else its connection is cut already

    config = uvicorn.Config(
        answered,
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
    )
    server = _Server(config, stop)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.handle_exit, number, None)
    ready()
    await server.serve(sockets=[listening])


def _most_connections() -> int:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(LEAST_CONNECTIONS, most - RESERVED_DESCRIPTORS))
