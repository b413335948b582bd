"""The budget of answers under way: what calls make, and what gRPC has of it until the peer takes it off.

A call that brings much, may answer with much, or comes upon a long line waits for room before it goes on. If a call has
waited for STALLED_S, the connection that has left most lying for so long is closed: gRPC frees what it keeps for a call
at the end of its connection alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from avocet_grpc.core.errors import Overloaded
from avocet_grpc.core.ports.ledger import NoRoom
from avocet_grpc.edge.sockets import hang_up, is_unix
from avocet_grpc.edge.turns import Turns
from avocet_grpc.telemetry.guard import keep

log = structlog.get_logger("avocet_grpc")

T = TypeVar("T")

COPIES = 2
"""An answer that nobody takes off is in memory twice: as ours, and as gRPC's."""
MAKING = 5
"""While it is made, also as the line, the record and the message."""
CHANGING = 6
"""While it is changed, also as the line before, the other file's line, the example, and what waits to be sent."""
MODEST_SHARE = 1 / 16
"""Of the budget. A call that wants no more waits behind no other; such calls have a quarter of the budget more."""
SMALL = 8 * 1024
"""Bytes up to which an answer is not counted."""
WITHOUT_ROOM = 32 * 1024
"""Bytes of a stream's next answer while others lie unread and have taken all room for a larger one."""
PAGE = 64 * 1024
"""Bytes of lines that a unary call may read before it asks for room. A page of 20 records of 2 KB is less."""
HEAVY = 1 << 20
"""Bytes of lines from which on a read waits for its turn."""
STALLED_S = 3.0
"""How long an answer lies, and a call waits, before a connection is closed."""
PATIENCE_S = 20.0
"""How long a call waits for room before it is refused."""
LOOK_EVERY_S = 0.25
NEVER = float("inf")
MOST_SHARE = 0.75
"""Of the budget: so much must be free for the largest work, and need not be more."""
UNIX_SHARE = 0.5
"""Of the budget, for all callers on a Unix socket together: they cannot be told apart."""


class Peer:
    """The calls of one connection: how much each holds, and since when that lies, never if it is still worked on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.holds: dict[Hold, tuple[float, int]] = {}

    @property
    def held(self) -> int:
        return sum(size for _, size in self.holds.values())

    def stalled(self, since: float) -> int:
        """Return how many bytes have lain since then, or longer."""
        return sum(size for began, size in self.holds.values() if began <= since)


class Answers:
    """All answers under way, `most` bytes together."""

    def __init__(self, most: int, close: Callable[[str], bool] = hang_up) -> None:
        self._most, self._close = most, close
        self._modest = int(most * MODEST_SHARE)
        self._peers: dict[str, Peer] = {}
        self._waiting: deque[tuple[Hold, int, asyncio.Future[None], float]] = deque()
        self._looking: asyncio.Task[Any] | None = None
        self.held = 0
        self.turns = Turns()

    def held_by(self, hold: Hold) -> int:
        """Return how many bytes a call holds."""
        return hold.peer.holds.get(hold, (NEVER, 0))[1]

    def hold(self, peer: str) -> Hold:
        """Return the account of one call, empty yet; to be used as a context."""
        return Hold(self, self._peers.get(peer) or Peer(peer))

    def fits(self, peer: Peer, size: int) -> bool:
        """Return whether there is room for so many bytes. What is larger than MOST_SHARE waits for that much."""
        size = min(size, int(self._most * MOST_SHARE))
        if is_unix(peer.name) and peer.held + min(size, int(self._most * UNIX_SHARE)) > self._most * UNIX_SHARE:
            return False
        return self.held + size <= (self._most if size > self._modest else self._most * 5 // 4)

    def change(self, hold: Hold, peer: Peer, size: int, *, lies: bool = False) -> None:
        """The call holds `size` bytes from now on. `lies`: it waits for its peer to take them off."""
        _, before = peer.holds.get(hold, (NEVER, 0))
        self.held += size - before
        if size:
            peer.holds[hold] = asyncio.get_running_loop().time() if lies else NEVER, size
            self._peers[peer.name] = peer
        elif peer.holds.pop(hold, None) and not peer.holds:
            self._peers.pop(peer.name, None)
        if size < before:
            self._let_in()

    async def wait(self, hold: Hold, peer: Peer, size: int) -> None:
        """Wait for room, in the order of coming, and take it. Raises Overloaded."""
        if (not self._waiting or size <= self._modest) and self.fits(peer, size):
            self.change(hold, peer, size)
            return
        if self._looking is None:
            self._looking = asyncio.create_task(keep("answers", self._look))
        loop = asyncio.get_running_loop()
        entry = hold, size, loop.create_future(), loop.time()
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await entry[2]
        except TimeoutError:
            raise Overloaded("too many answers under way") from None
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._let_in()

    def _let_in(self) -> None:
        passed = deque[tuple[Hold, int, asyncio.Future[None], float]]()
        is_full = False
        while self._waiting:
            entry = self._waiting.popleft()
            hold, size, future, _ = entry
            if future.done():
                continue
            if (is_full and size > self._modest) or not self.fits(hold.peer, size):
                passed.append(entry)
                # Callers on a Unix socket that wait for their own share keep nobody else back.
                is_full = is_full or not is_unix(hold.peer.name)
                continue
            self.change(hold, hold.peer, size)
            future.set_result(None)
        self._waiting = passed

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_EVERY_S)
        since = asyncio.get_running_loop().time() - STALLED_S
        if not any(came <= since for *_, came in self._waiting):
            return
        stalled = {name: peer.stalled(since) for name, peer in self._peers.items()}
        for name in sorted(stalled, key=stalled.__getitem__, reverse=True):
            if not stalled[name]:
                break
            if await asyncio.to_thread(self._close, name):
                log.warning("connection closed: its answers were not taken off", bytes=stalled[name])
                break


class Hold:
    """What one call makes or has handed over, in bytes of memory."""

    def __init__(self, answers: Answers, peer: Peer) -> None:
        self._answers, self.peer = answers, peer
        self._handed_over = self._has_turn = False
        self._most = PAGE
        self.wanted = 0
        """Bytes of lines for which the call had to take room."""

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_turn()
        if not self._handed_over:
            self.give()

    def another(self) -> Hold:
        """Return the account of a part of the call, empty yet; to be used as a context."""
        return Hold(self._answers, self.peer)

    async def take(self, size: int, copies: int = MAKING) -> None:
        """Have room to work on `size` bytes; wait for it. Raises Overloaded."""
        self.give()
        await self._answers.wait(self, self.peer, size * copies)
        self._most = max(PAGE, size)

    async def work(self, work: Callable[[int], Awaitable[T]], copies: int = MAKING) -> T:
        """Return what `work` gives, which may read lines of so many bytes at most.

        It raises NoRoom before it reads a longer one: then wait until there is room for that. Raises Overloaded.
        """
        while True:
            try:
                return await work(self._most)
            except NoRoom as wanted:
                self._end_turn()
                self.wanted = max(wanted.size, 2 * self._most)
            await self.take(self.wanted, copies)

    async def read(self, work: Callable[[int], Awaitable[T]]) -> T:
        """As `work`, for one that changes nothing: from HEAVY bytes on it has a turn, until its answer is made.

        Changes need none: the ledger makes one after the other.
        """

        async def in_turn(most: int) -> T:
            if most >= HEAVY and not self._has_turn:
                await self._answers.turns.take()
                self._has_turn = True
            return await work(most)

        return await self.work(in_turn)

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._answers.turns.give()

    def try_take(self, size: int) -> bool:
        """Have room for the next answer of a stream, in place of that for the last one, if there is some now."""
        self.give()
        if not self._answers.fits(self.peer, size * COPIES):
            return False
        self._answers.change(self, self.peer, size * COPIES, lies=True)
        return True

    async def make(self, most: int, make: Callable[[int], Awaitable[T]]) -> T:
        """Return the next answer of a stream, which `make` makes with so many bytes at most.

        They are `most` if there is room now, else WITHOUT_ROOM. `make` raises NoRoom if the least answer has more: then
        wait until there is room for it. Raises Overloaded.
        """
        size = most if self.try_take(most) else WITHOUT_ROOM
        while True:
            try:
                made = await make(size)
            except NoRoom as wanted:
                size = wanted.size
            else:
                break
            await self.take(size)
        if self._answers.held_by(self):
            self._answers.change(self, self.peer, self._answers.held_by(self), lies=True)
        return made

    def give(self) -> None:
        """Nothing is held any more."""
        self._answers.change(self, self.peer, 0)

    def hand_over(self, size: int, context: Any) -> None:
        """The answer is made. It has `size` bytes, and lies until the call is over."""
        self._end_turn()
        if size <= SMALL:
            return
        self._handed_over = True
        self._answers.change(self, self.peer, size * COPIES, lies=True)
        context.add_done_callback(lambda _: self.give())
