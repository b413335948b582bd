"""How long a line may be that the work of this thread reads: whoever waits for room has to know before it is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from avocet_grpc.core.ports.ledger import NoRoom, Reads


class HasSize(Protocol):
    """A row that has a line of `size` bytes."""

    @property
    def size(self) -> int: ...


Sized = TypeVar("Sized", bound=HasSize)


class _Room(threading.local):
    most_bytes: int | None = None


_room = _Room()


class RoomOf:
    """A context: inside, this thread reads for `work`. A class, since a generator costs four times as much."""

    __slots__ = ("_before", "_most_bytes")

    def __init__(self, work: Any) -> None:
        self._most_bytes = work.most_bytes if isinstance(work, Reads) else None

    def __enter__(self) -> None:
        self._before, _room.most_bytes = _room.most_bytes, self._most_bytes

    def __exit__(self, *_: object) -> None:
        _room.most_bytes = self._before


def within_room(rows: Iterator[Sized]) -> Iterator[Sized]:
    """Yield the rows of a page, whose lines are kept together. Raises NoRoom at the first that is too much."""
    total = 0
    try:
        for row in rows:
            total += row.size
            check_room(total)
            yield row
    finally:
        # The error's stack would keep the cursor, which must end before what the work did is undone.
        del rows


def check_room(size: int) -> None:
    """Raises NoRoom if the work may not read so many bytes at once."""
    if _room.most_bytes is not None and size > _room.most_bytes:
        raise NoRoom(size)
