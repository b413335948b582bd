"""How large a request of each method may be."""

from __future__ import annotations

TEXTS = frozenset({"Submit", "BatchSubmit", "Ingest", "StreamIngest", "UploadRun"})
"""Our methods whose requests bring texts."""
PLAIN_BYTES = 2 << 20
OTHERS_BYTES = 64 << 10
"""Of channelz and reflection."""
HEALTH_BYTES = 4 << 10
OURS = "/avocet.corrections.v1."
HEALTH = "/grpc.health.v1.Health/"


def most_bytes(method: str, message_bytes: int) -> int:
    """Return the limit of a method, by its full name; `message_bytes` is that of the methods that bring texts."""
    if method.startswith(OURS):
        own = message_bytes if method.rpartition("/")[2] in TEXTS else PLAIN_BYTES
    else:
        own = HEALTH_BYTES if method.startswith(HEALTH) else OTHERS_BYTES
    return min(own, message_bytes)
