"""Lets calls in until the server stops.

gRPC itself cancels what reaches it while it stops, so that a client cannot know whether its call was begun. So the gate
shuts first: what still comes is told, in an error of its own, that it was not begun.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from avocet_grpc.core.errors import ShuttingDown

QUIET_S = 0.1
"""How long nothing may come before gRPC is stopped."""


class Gate:
    """Open at first."""

    def __init__(self) -> None:
        self._shut = False
        self._last = 0.0
        self._listeners: list[Callable[[], None]] = []

    def on_shut(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the gate shuts: calls that would last for hours end then."""
        self._listeners.append(listener)

    def enter(self) -> None:
        """A call begins. Raises ShuttingDown once the gate is shut."""
        if self._shut:
            self._last = time.monotonic()
            raise ShuttingDown("the server stops")

    async def shut(self, at_most: float) -> None:
        """Let nobody in any more; return once nobody comes, or after `at_most` seconds."""
        self._shut = True
        for listener in self._listeners:
            listener()
        self._last = time.monotonic()
        deadline = self._last + at_most
        while (left := min(self._last + QUIET_S, deadline) - time.monotonic()) > 0:
            await asyncio.sleep(left)
