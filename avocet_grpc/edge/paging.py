"""Pages that a client with gRPC's default limit of 4 MB can read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from google.protobuf.message import Message

from avocet_grpc.core.model import ANSWER_BYTES

At = TypeVar("At")
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Page(Generic[At, M]):
    """The items of one page and their places. `last` is where it ends, and None if nothing follows."""

    items: list[M] = field(default_factory=list)
    places: list[At] = field(default_factory=list)
    last: At | None = None

    def shorten(self) -> None:
        """End the page earlier if it has more than 3 MB by now: messages may have grown since it was filled."""
        size = 0
        for count, message in enumerate(self.items):
            size += message.ByteSize() + 8
            if count and size > ANSWER_BYTES:
                self.last = self.places[count - 1]
                del self.items[count:]
                return


def fill(looked_at: Iterable[tuple[At, M | None]], page_size: int, scan: int) -> Page[At, M]:
    """Return the first messages of what is looked at, until the page is full or `scan` things were looked at.

    A thing that the page passes over has no message. A page ends at 3 MB; a larger message comes alone.
    """
    page, size = Page[At, M](), 0
    for seen, (at, message) in enumerate(looked_at, 1):
        if message is not None:
            size += message.ByteSize() + 8
            if page.items and (size > ANSWER_BYTES or len(page.items) == page_size):
                return page
            page.items.append(message)
            page.places.append(at)
        page.last = at
        if seen == scan:
            return page
    page.last = None
    return page
