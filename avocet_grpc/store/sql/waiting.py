"""Groups of works that wait for an engine's writer."""

from __future__ import annotations

import queue
from typing import Any

from avocet_grpc.core.errors import Overloaded, StorageFailed
from avocet_grpc.store.sql.group import Group

BATCH = 256


class Waiting:
    """A queue of at most some `most` groups. Any thread may put, one thread takes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._groups: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._closed = False

    def put(self, group: Group) -> Any:
        """Let the group wait for the next commit. Returns its future."""
        if self._closed:
            group.future.set_exception(StorageFailed("the ledger has stopped"))
        elif self._groups.qsize() >= self._most:
            group.future.set_exception(Overloaded("too many changes wait"))
        else:
            self._groups.put(group)
        return group.future

    def close(self) -> None:
        """Take no more; `take` gives what waits, and then says that it was the last."""
        self._closed = True
        self._groups.put(None)

    def take(self) -> tuple[list[Group], bool]:
        """Wait for a group. What waits by then, without what was cancelled, and whether it is the last."""
        first = self._groups.get()
        return self._gathered([] if first is None else [first], first is None)

    def take_waiting(self) -> list[Group]:
        """Return what waits now, if the queue is not closed."""
        return [] if self._closed else self._gathered([], False)[0]

    def _gathered(self, groups: list[Group], last: bool) -> tuple[list[Group], bool]:
        while not last and len(groups) < BATCH and not self._groups.empty():
            group = self._groups.get()
            if group is None:
                last = True
            else:
                groups.append(group)
        return [group for group in groups if group.future.set_running_or_notify_cancel()], last


def refuse(groups: list[Group], error: Exception) -> None:
    """None of the groups is stored, or nobody knows."""
    for group in groups:
        group.future.set_exception(error)
