"""Groups of works that wait for an engine's writer."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from avocet_grpc.core.errors import Overloaded, StorageFailed
from avocet_grpc.store.sql.group import Group

BATCH = 256
CROWD = 8
"""Callers that write at the same time, from which on a commit waits for those that it can expect."""
GATHER_S = 0.005
"""How long it waits for them at most."""


class Waiting:
    """A queue of at most some `most` groups. Any thread may put, one thread takes.

    Callers that were just answered mostly write again. If there are many, the next commit waits until as many groups
    are there: one commit of all costs far less than several, and the threads that make the works and commit them do not
    fight for the interpreter's lock. `wanted` is how many groups the one that takes waits for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._groups: deque[Group] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.wanted = 1
        self._taken = 0

    def put(self, group: Group) -> Any:
        """Let the group wait for the next commit. Returns its future."""
        with self._changed:
            if error := self._refusal():
                group.future.set_exception(error)
            else:
                self._groups.append(group)
                if len(self._groups) >= self.wanted:
                    self._changed.notify()
        return group.future

    def close(self) -> None:
        """Take no more; `take` gives what waits, and then says that it was the last."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> tuple[list[Group], bool]:
        """Wait for a group. What waits by then, without what was cancelled, and whether it is the last."""
        with self._changed:
            # Those that the last commit has answered, and those that came meanwhile.
            expected = min(self._taken + len(self._groups), BATCH)
            self._wait_for(1)
            if expected >= CROWD:
                self._wait_for(expected, GATHER_S)
            return self._gathered(), self._closed and not self._groups

    def _refusal(self) -> Exception | None:
        if self._closed:
            return StorageFailed("the ledger has stopped")
        return Overloaded("too many changes wait") if len(self._groups) >= self._most else None

    def _wait_for(self, groups: int, seconds: float | None = None) -> None:
        self.wanted = groups
        self._changed.wait_for(lambda: self._closed or len(self._groups) >= groups, seconds)
        self.wanted = 1

    def _gathered(self) -> list[Group]:
        found = [self._groups.popleft() for _ in range(min(BATCH, len(self._groups)))]
        self._taken = len(found)
        return [group for group in found if group.future.set_running_or_notify_cancel()]


def refuse(groups: list[Group], error: Exception) -> None:
    """None of the groups is stored, or nobody knows."""
    for group in groups:
        group.future.set_exception(error)
