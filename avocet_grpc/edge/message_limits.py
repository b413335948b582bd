"""How large a request of each method may be, and how large an answer."""

from __future__ import annotations

TEXTS = frozenset({"Submit", "BatchSubmit", "Ingest", "StreamIngest", "UploadRun"})
"""Our methods whose requests bring texts."""
PLAIN_BYTES = 2 << 20
OTHERS_BYTES = 64 << 10
"""Of channelz and reflection."""
HEALTH_BYTES = 4 << 10
OURS = "/avocet.corrections.v1."
HEALTH = "/grpc.health.v1.Health/"


PAGES = frozenset({"Queue", "ListCandidates", "ListHistory", "Claim"})
"""Our methods whose answers may be as large as a page."""
ASKING = frozenset({"Submit", "Undo", "GetCandidate"})
"""Our methods that ask for room themselves, once they have come upon a long line."""
PRESUMED_PAGE_BYTES = 128 << 10
"""What such an answer is supposed to have at least: a page that was given too little room is read twice."""


class Sizes:
    """The bytes of one method's requests, at most, and of its answers or the lines they are made of, about."""

    def __init__(self, method: str, message_bytes: int) -> None:
        self.request = most_bytes(method, message_bytes)
        name = method.rpartition("/")[2] if method.startswith(OURS) else ""
        self._is_page, self._asks = name in PAGES, name in ASKING
        self.answer = PRESUMED_PAGE_BYTES if self._is_page else 0

    def answered(self, size: int) -> None:
        """Learn from an answer: what the last one was, the next one is supposed to be. Pages are forgotten slowly."""
        if self._is_page:
            self.answer = max(size, self.answer // 2, PRESUMED_PAGE_BYTES)
        elif not self._asks:
            self.answer = size


def most_bytes(method: str, message_bytes: int) -> int:
    """Return the limit of a method, by its full name; `message_bytes` is that of the methods that bring texts."""
    if method.startswith(OURS):
        own = message_bytes if method.rpartition("/")[2] in TEXTS else PLAIN_BYTES
    else:
        own = HEALTH_BYTES if method.startswith(HEALTH) else OTHERS_BYTES
    return min(own, message_bytes)
