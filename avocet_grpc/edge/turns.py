"""Turns: reads of very long lines follow one another, and other calls begin in between.

Such a read keeps the interpreter for tens of milliseconds, in its thread and then on the event loop. gRPC hands over
one new call each time round the loop. With many such reads at once the loop hardly went round, and a small call waited
for seconds until the server had noticed it.
"""

from __future__ import annotations

import asyncio

ROUNDS = 60
"""Of the event loop, between one turn's end and the next one's begin. Some thirty calls are handed over meanwhile."""


class Turns:
    """Let one call at a time go on, in the order of coming."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore()

    async def take(self) -> None:
        """Wait for a turn. `give` must follow."""
        await self._free.acquire()

    def give(self) -> None:
        """The turn is over: the next one begins after ROUNDS."""
        self._wait(ROUNDS)

    def _wait(self, rounds: int) -> None:
        if rounds:
            asyncio.get_running_loop().call_soon(self._wait, rounds - 1)
        else:
            self._free.release()
