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
PRESUMED_PAGE_BYTES = 3_000_000
"""What such an answer is supposed to have before the first one was made; the contract ends a page there."""


class Sizes:
    """The bytes of one method's requests, at most, and of its answers, about."""

    def __init__(self, method: str, message_bytes: int) -> None:
        self.request = most_bytes(method, message_bytes)
        self._is_page = method.startswith(OURS) and method.rpartition("/")[2] in PAGES
        self.answer = PRESUMED_PAGE_BYTES if self._is_page else 0

    def answered(self, size: int) -> None:
        """Learn from an answer: what the last one was, the next one is supposed to be. Pages are forgotten slowly."""
        self.answer = max(size, self.answer * 9 // 10) if self._is_page else size


def most_bytes(method: str, message_bytes: int) -> int:
    """Return the limit of a method, by its full name; `message_bytes` is that of the methods that bring texts."""
    if method.startswith(OURS):
        own = message_bytes if method.rpartition("/")[2] in TEXTS else PLAIN_BYTES
    else:
        own = HEALTH_BYTES if method.startswith(HEALTH) else OTHERS_BYTES
    return min(own, message_bytes)
