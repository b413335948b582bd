"""Finds processes that live and do not answer: one that is stopped may hold the turn to commit, and block others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from avocet_grpc.processes.child import Child, Phase
from avocet_grpc.processes.messages import Ping

EVERY_S = 5.0
MOST_UNANSWERED = 4
"""A process that has left so many pings unanswered does not live any more.

Pings are counted and not seconds: after a pause of the whole machine nobody is late.
"""


class Pulse:
    """Pings running processes. `due` is when to do it again, by the clock that is given."""

    def __init__(self, children: Sequence[Child], clock: Callable[[], float] = time.monotonic) -> None:
        self._children, self._clock = children, clock
        self._unanswered: dict[int, int] = {}
        self.due = clock() + EVERY_S

    def answered(self, child: Child) -> None:
        """The process lives."""
        self._unanswered.pop(child.pid, None)

    def silent(self) -> list[Child]:
        """Return the processes that do not answer any more, and ping the others; nothing before it is due."""
        if self._clock() < self.due:
            return []
        self.due = self._clock() + EVERY_S
        running = [child for child in self._children if child.phase is Phase.RUNNING]
        pings = {child.pid: self._unanswered.get(child.pid, 0) + 1 for child in running}
        silent = [child for child in running if pings[child.pid] > MOST_UNANSWERED]
        self._unanswered = pings
        for child in running:
            if child not in silent:
                child.tell(Ping())
        return silent
