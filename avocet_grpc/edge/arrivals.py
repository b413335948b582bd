"""The budget of bytes under way: what callers have sent and no call has finished with.

gRPC keeps what has come of a message until all of it is there, and does not say how much that is. The kernel knows
what each connection received; without what was handed to us, the rest is what gRPC keeps. If all connections together
are above the budget, the calls of the greediest one are ended.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from avocet_grpc.allocator import Allocator
from avocet_grpc.core.errors import CorrectionsError, InvalidField, Overloaded
from avocet_grpc.edge import wire
from avocet_grpc.edge.call_context import recheck
from avocet_grpc.edge.sockets import is_unix, peer_key, received_bytes
from avocet_grpc.edge.unfinished import UnfinishedLines
from avocet_grpc.telemetry.guard import keep

LOOK_EVERY_S = 0.1
RUSHED_S = 0.02
"""The same, while a quarter of the budget is taken, or anybody calls over a Unix socket: much comes in little time."""
WORKED_ON = 10
"""Times a request's bytes are allocated at most, while it is worked on."""
LARGE = 64 * 1024
"""Bytes above which a request needs room: it is refused if the budget has too little, and its work waits for some."""
CALL_OVERHEAD = 256
"""Bytes of a call's frames and headers. More would be taken for an unfinished message, and less hides one."""
READ_AHEAD = 1 << 20
"""Bytes of its requests from which on a call must finish with one before the next is read."""
LINES_SHARE = 0.5
"""Of the budget, that unfinished lines may take away from messages."""
KEPT_MESSAGES = 4
"""Of a stream of requests: as many as its method may have read before it says that it has finished with the first."""

Parse = Callable[[bytes], Any]
Opened = tuple[Any, CorrectionsError | None]
"""A message, or None and what is wrong with it."""
_threads = ThreadPoolExecutor(2, thread_name_prefix="parse")


class Connection:
    """What one peer has under way. `unfinished` are the bytes that gRPC keeps, as of the last look."""

    def __init__(self) -> None:
        self.calls: set[Incoming] = set()
        self.delivered = 0
        self.held = 0
        self.unfinished = 0
        self._forgiven = 0

    def look(self, received: int) -> None:
        """Compare with what the kernel counts. With no call under way, nothing is kept."""
        self.unfinished = received - self.delivered - self._forgiven
        if self.unfinished < 0 or not self.calls:
            self.forgive()

    def forgive(self) -> None:
        """Take what is unfinished for gone."""
        self._forgiven += self.unfinished
        self.unfinished = 0

    def greedy_calls(self) -> list[Incoming]:
        """Return the calls to end if the connection has too much.

        One that has its only message is none of them: it may have stored it, and OVERLOADED says that nothing was.
        """
        return [call for call in self.calls if not call.has_all]


class Uncounted(Connection):
    """All peers on a Unix socket: the kernel counts nothing there, and gRPC has one name for all.

    While one of their calls waits for a message, bytes that the process allocates count as sent by these peers, unless
    another part of the service accounts for them.
    """

    def __init__(self, allocated: int) -> None:
        super().__init__()
        self._allocated = self._level = allocated
        self._waited: set[Incoming] = set()
        self._wait_long: list[Incoming] = []

    def compare(self, allocated: int, accounted: int) -> None:
        """Compare what is allocated now with what was while nobody waited, without what is `accounted` for."""
        self._allocated = allocated
        # What was forgiven before gRPC freed it may not be forgiven once more when others have sent as much.
        self._level = min(self._level, allocated)
        waiting = {call for call in self.calls if call.is_waiting}
        self._wait_long, self._waited = [*(waiting & self._waited)], waiting
        if not waiting:
            self.forgive()
        self.unfinished = max(0, allocated - accounted - self._level)

    def forgive(self) -> None:
        # Calls that go on may have sent a part of it.
        if len(self._wait_long) == len(self._waited):
            self._level, self.unfinished = self._allocated, 0

    def greedy_calls(self) -> list[Incoming]:
        """Return the calls that waited at the last two looks: one that has just begun may be a small call of others."""
        return self._wait_long


class Arrivals:
    """All connections' bytes under way: `most` together, fewer while uploads hold unfinished `lines`."""

    def __init__(self, most: int, lines: UnfinishedLines, accounted: Callable[[], int] = lambda: 0) -> None:
        self._budget, self._lines, self._accounted = most, lines, accounted
        self._allocator = Allocator()
        self._connections: dict[str, Connection] = {}
        self._looking: asyncio.Task[Any] | None = None
        self.held = 0
        self.evicted = 0

    @property
    def _most(self) -> int:
        return self._budget - min(self._lines.held, int(self._budget * LINES_SHARE))

    def begin(self, most: int, parse: Parse, context: Any, peer: str) -> Incoming:
        """Return the requests of a call of this task, each of at most `most` bytes. `Incoming.close` must follow."""
        connection = self._connections.get(peer)
        if connection is None:
            new = Uncounted(self._allocator.in_use()) if is_unix(peer) else Connection()
            connection = self._connections[peer] = new
        if self._looking is None:
            self._looking = asyncio.create_task(keep("arrivals", self._look))
        return Incoming(self, connection, most, parse, context)

    def hold(self, connection: Connection, size: int) -> None:
        """Count bytes that a call has in its hands. Raises Overloaded if that is too much."""
        if size > LARGE and self.held + size > self._most:
            raise Overloaded("too many bytes under way")
        self.held += size
        connection.held += size

    def release(self, connection: Connection, size: int) -> None:
        """The call has finished with them."""
        self.held -= size
        connection.held -= size

    async def _look(self) -> None:
        is_rushed = self._total() > self._most // 4 or any(map(is_unix, self._connections))
        await asyncio.sleep(RUSHED_S if is_rushed else LOOK_EVERY_S)
        if not any(connection.calls for connection in self._connections.values()):
            return
        # Time alone would count what other threads did: it was ten times as long while they were busiest.
        began = time.thread_time()
        received = received_bytes()
        for peer, connection in list(self._connections.items()):
            if isinstance(connection, Uncounted):
                # Beside what calls wait for, there is what they work on and answer.
                accounted = WORKED_ON * self.held + self._lines.held + self._accounted()
                connection.compare(self._allocator.in_use(), accounted)
            elif (count := received.get(peer_key(peer))) is not None:
                connection.look(count)
            elif not connection.calls:
                del self._connections[peer]
        self._evict()
        # A server of many connections spends no more than a twentieth of its time here.
        await asyncio.sleep(20 * (time.thread_time() - began))

    def _total(self) -> int:
        return self.held + sum(connection.unfinished for connection in self._connections.values())

    def _evict(self) -> None:
        total = self._total()
        greedy = sorted(self._connections.values(), key=lambda one: one.unfinished + one.held)
        while total > self._most and greedy:
            connection = greedy.pop()
            total -= connection.unfinished + connection.held
            calls = connection.greedy_calls()
            connection.forgive()
            for call in calls:
                call.end(Overloaded("too many bytes under way"))
                self.evicted += 1


class Incoming:
    """The requests of one call, received and parsed within the limits. Iterate over them, or await `only()`.

    `ended` is the error that the call was ended with from outside. Who catches the cancellation raises it.
    """

    def __init__(self, arrivals: Arrivals, connection: Connection, most: int, parse: Parse, context: Any) -> None:
        self._arrivals, self._connection, self._context = arrivals, connection, context
        self._most, self._parse = most, parse
        self._task = asyncio.current_task()
        self._held: deque[int] = deque()
        self._holds_much: asyncio.Event | None = None
        """Set once the call holds little again."""
        self.is_waiting = self.has_all = False
        self.ended: CorrectionsError | None = None
        connection.calls.add(self)

    def close(self) -> None:
        """The call is over: it has finished with what it had in its hands."""
        self._connection.calls.discard(self)
        while self._held:
            self._arrivals.release(self._connection, self._held.popleft())

    @property
    def size(self) -> int:
        """Bytes of the newest request, if that is large; else 0."""
        size = self._held[-1] if self._held else 0
        return size if size > LARGE else 0

    def finished(self) -> None:
        """The call needs the oldest of its requests no more."""
        if self._held:
            self._arrivals.release(self._connection, self._held.popleft())
        if self._holds_much is not None and sum(self._held) <= READ_AHEAD:
            self._holds_much.set()
            self._holds_much = None

    def end(self, error: CorrectionsError) -> None:
        """Cancel the call: its caller gets `error`."""
        if self.ended is None and self._task is not None:
            self.ended = error
            self._task.cancel()

    def reason(self) -> CorrectionsError | None:
        """Return why the call was cancelled, if it was ended from outside and by nobody else; asked once."""
        if self.ended is None or self._task is None or self._task.uncancel() > 0:
            return None
        return self.ended

    async def only(self) -> Any:
        """Return the request of a call that has one. Raises InvalidField if there is none, or if it is not valid."""
        raw = await self._read()
        if raw is grpc.aio.EOF:
            raise InvalidField("request", "is missing: the call ended before its message")
        message, problem = self._opened_at_once(raw) or await self._opened(raw)
        # An error's stack would keep it, and with it all that a refused caller sent.
        del raw
        if problem is not None:
            raise problem
        self.has_all = True
        return message

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (raw := await self._read()) is not grpc.aio.EOF:
            message, problem = self._opened_at_once(raw) or await self._opened(raw)
            del raw
            if problem is not None:
                raise problem
            recheck()
            # While the method works on it, the method alone holds it.
            handed = [message]
            del message
            yield handed.pop()
            if self._holds_much is not None:
                await self._holds_much.wait()

    async def _read(self) -> Any:
        self.is_waiting = True
        raw = await self._context.read()
        self.is_waiting = False
        return raw

    def _opened_at_once(self, raw: bytes) -> Opened | None:
        """Return the message, or what is wrong with it; None if it has to be opened in a thread."""
        size = len(raw)
        self._connection.delivered += size + (size >> 10) + CALL_OVERHEAD
        if size > self._most or wire.is_compressed(raw) or wire.may_have_many_fields(raw):
            return None
        # So little is never too much.
        self._hold(size)
        return _parsed(self._parse, raw)

    async def _opened(self, raw: bytes) -> Opened:
        """Return the message, or what is wrong with it, of what is large or has to be looked at in a thread."""
        size = wire.size_within(raw) if wire.is_compressed(raw) else len(raw)
        try:
            wire.refuse_if_longer(size, self._most)
            self._hold(size)
        except CorrectionsError as error:
            return None, error.with_traceback(None)
        return await asyncio.get_running_loop().run_in_executor(_threads, _open, self._parse, raw, size)

    def _hold(self, size: int) -> None:
        self._arrivals.hold(self._connection, size)
        self._held.append(size)
        if len(self._held) > KEPT_MESSAGES:
            self.finished()
        if self._holds_much is None and sum(self._held) > READ_AHEAD:
            self._holds_much = asyncio.Event()


def _open(parse: Parse, raw: bytes, size: int) -> Opened:
    """Return the message of what takes long to open, or what is wrong with it."""
    try:
        if wire.is_compressed(raw):
            raw = wire.decompressed(raw, size)
        if wire.may_have_many_fields(raw):
            wire.refuse_many_fields(raw, getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None))
    except CorrectionsError as error:
        return None, error.with_traceback(None)
    return _parsed(parse, raw)


def _parsed(parse: Parse, raw: bytes) -> Opened:
    try:
        return parse(raw), None
    except (DecodeError, ValueError):
        problem = "is not a valid message of this method; check the stubs, and that every string is UTF-8"
        return None, InvalidField("request", problem)
