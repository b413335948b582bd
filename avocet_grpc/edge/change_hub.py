"""The newest changes of the store, read once for all who watch it.

One task reads the history as commits come, and keeps its end in memory. A watch that is level takes its changes from
there, so that a thousand of them cost one query a commit. One that is far behind reads the history for itself.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from avocet_grpc.core.errors import CorrectionsError, RevisionExpired, ShuttingDown
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.watch import Stretch, complete, cursor_of, cut, level_at, stretch
from avocet_grpc.telemetry.guard import failed

log = structlog.get_logger(__name__)

Read = Callable[[Callable[[TeamReader], Any]], Awaitable[Any]]

LIMIT = 1_000
"""Changes of one response, and of one look at the history."""
KEPT = 5_000
"""Changes that stay in memory. Their values do not."""
FALLBACK_SECONDS = 60.0
"""How often the history is looked at although nobody has told of a commit. Each commit is told of."""
AGAIN_SECONDS = 1.0
"""After a look that failed."""
PAUSE_SECONDS = 0.01
PAUSE_PER_WATCH = 0.000_06
"""Changes that come closer together go out together: a thousand watches cost a busy server no more than ten do."""


class ChangeHub:
    """Gives each watch the changes after its cursor. It reads the store only while somebody watches.

    `read_apart` reads for watches that are far behind: no other call may wait behind them.
    """

    def __init__(self, read: Read, read_apart: Read, fallback_seconds: float = FALLBACK_SECONDS) -> None:
        self._read, self._read_apart = read, read_apart
        self._fallback_seconds = fallback_seconds
        self.watches = 0
        self._pump: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._news = asyncio.Event()
        self._stopped = False
        self._entries: list[HistoryEntry] = []
        self._begin = self._end = complete(0)
        self._revision = 0

    def wake(self) -> None:
        """Something was committed. May be called from any thread."""
        loop = self._loop
        if loop is not None and not self._woken.is_set():
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        """Every watch ends with ShuttingDown."""
        self._stopped = True
        self._tell()

    def join(self) -> None:
        """A watch begins."""
        self.watches += 1
        self._loop = asyncio.get_running_loop()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    def leave(self) -> None:
        """A watch ends; with the last one the reading ends, too."""
        self.watches -= 1
        if not self.watches and self._pump is not None:
            self._pump.cancel()
            self._pump = self._loop = None
            self._entries, self._revision = [], 0
            self._begin = self._end = complete(0)

    def is_level(self, at: HistoryCursor) -> bool:
        """Return True if nothing newer is known than what lies before the cursor."""
        return at == self._end

    async def after(self, at: HistoryCursor, seconds: float, look: int) -> Stretch:
        """Return the changes after the cursor, at most LIMIT. If none comes for `seconds`, return an empty stretch.

        At most `look` are read from the store if they are no longer in memory.
        Raises RevisionExpired if some of them were pruned, ShuttingDown once the server stops.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            news = self._news
            if self._stopped:
                raise ShuttingDown("the server stops")
            if self._begin <= at < self._end:
                return self._kept(at)
            if at < self._begin:
                found: Stretch = await self._read_apart(partial(stretch, begin=at, limit=look))
                return found
            if not await within(news.wait(), deadline):
                return Stretch([], at, at, level_at(at))

    def _kept(self, at: HistoryCursor) -> Stretch:
        first = bisect.bisect_right(self._entries, at, key=cursor_of)
        found = Stretch(self._entries[first : first + LIMIT + 1], at, self._end, self._revision)
        return found if len(found.entries) <= LIMIT else cut(found, LIMIT)

    async def _run(self) -> None:
        """Read what is new, tell everybody, wait for more."""
        while True:
            self._woken.clear()
            patience = await self._looked()
            await asyncio.sleep(PAUSE_SECONDS + PAUSE_PER_WATCH * self.watches)
            await within(self._woken.wait(), asyncio.get_running_loop().time() + patience)

    async def _looked(self) -> float:
        """Take in what is new. Returns for how many seconds to wait for a commit before the next look."""
        try:
            await self._look()
        except RevisionExpired:
            self._revision = 0
            return 0
        except CorrectionsError as error:
            # The ledger has told the reason itself; at the next look it may be well again.
            log.warning("the history could not be read", error=type(error).__name__)
            return AGAIN_SECONDS
        except Exception as error:
            failed("watches", error)
            return AGAIN_SECONDS
        return self._fallback_seconds

    async def _look(self) -> None:
        if not self._revision:
            self._revision = await self._read(lambda reader: reader.revision())
            self._entries = []
            self._begin = self._end = complete(self._revision)
            self._tell()
        while (found := await self._read(partial(stretch, begin=self._end, limit=LIMIT))).end != self._end:
            self._entries += found.entries
            self._end, self._revision = found.end, found.revision
            if (surplus := len(self._entries) - KEPT) > 0:
                self._begin = cursor_of(self._entries[surplus - 1])
                del self._entries[:surplus]
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


async def within(event: Coroutine[Any, Any, Any], deadline: float) -> bool:
    """Wait for the event; False if it has not come by this time of the loop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            await event
            return True
    return False
