"""Runs observers, listeners and background tasks: what fails in them is logged and counted, and work goes on.

None of them may change an answer, end a thread that serves, or end a background task in silence.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import structlog

from avocet_grpc.core.observer import Observer

log = structlog.get_logger("avocet_grpc")

SAY_AGAIN_S = 60.0
RETRY_S = 1.0

failures: Counter[str] = Counter()
"""How often each has failed in this process, by its name."""
_said: dict[tuple[str, str], float] = {}


def failed(what: str, error: BaseException) -> None:
    """Count the failure and log it, the same one once a minute at most. Raises nothing."""
    failures[what] += 1
    key, now = (what, type(error).__name__), time.monotonic()
    if now - _said.get(key, -SAY_AGAIN_S) >= SAY_AGAIN_S:
        _said[key] = now
        log.error("failed in the background", what=what, error=type(error).__name__, exc_info=error)


def guarded(what: str, call: Callable[..., object]) -> Callable[..., None]:
    """Return `call` as a function that raises no Exception; `what` names it in the log and the metrics."""

    def guard(*arguments: Any) -> None:
        try:
            call(*arguments)
        except Exception as error:
            failed(what, error)

    return guard


class GuardedObserver(Observer):
    """Tells `observer` everything, and goes on if it fails."""

    def __init__(self, observer: Observer) -> None:
        self.committed = guarded("observer", observer.committed)  # type: ignore[method-assign]
        self.reconciled = guarded("observer", observer.reconciled)  # type: ignore[method-assign]
        self.pruned = guarded("observer", observer.pruned)  # type: ignore[method-assign]
        self.files_level = guarded("observer", observer.files_level)  # type: ignore[method-assign]


async def keep(what: str, look: Callable[[], Awaitable[None]]) -> NoReturn:
    """Await `look()` again and again until cancelled. `look` waits by itself; after a failure there is a pause."""
    while True:
        try:
            await look()
        except Exception as error:
            failed(what, error)
            await asyncio.sleep(RETRY_S)
