"""When to try again after a break, and when to give up."""

from __future__ import annotations

import logging
import random

import grpc

from avocet_client.errors import (
    CallTooLong,
    CorrectionsError,
    Overloaded,
    ShuttingDown,
    StorageFailed,
    StorageUnreachable,
    TransportError,
)

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 10.0
RETRY_FOR_SECONDS = 300.0
"""How long a stream waits for the service during an outage, if the caller states nothing."""

_log = logging.getLogger("avocet_client")
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
}


class Backoff:
    """Pauses that double from 0.2 s to 10 s, each shortened at random by up to a half, until the outage is too long."""

    def __init__(self, retry_for: float) -> None:
        self._retry_for = retry_for
        self.progressed()

    def progressed(self) -> None:
        """Something arrived: the next break begins a new outage."""
        self._since: float | None = None
        self._next = FIRST_SECONDS

    def pause(self, error: CorrectionsError, now: float) -> float:
        """Seconds to wait before the next try, `now` being any clock's seconds; the log of `avocet_client` has why.

        Raises the error itself if another try cannot help, or the outage has lasted longer than `retry_for`.
        """
        if self._since is None:
            self._since = now
        pause = self._next * random.uniform(0.5, 1)
        if not _passes(error) or now + pause > self._since + self._retry_for:
            raise error
        self._next = min(self._next * 2, LONGEST_SECONDS)
        _log.warning("the call broke off, and is continued in %.1f s: %s", pause, error)
        return pause


def _passes(error: CorrectionsError) -> bool:
    if isinstance(error, TransportError):
        return error.code in _PASSING
    return isinstance(error, CallTooLong | Overloaded | ShuttingDown | StorageFailed | StorageUnreachable)
