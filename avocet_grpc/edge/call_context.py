"""What is known of the call under way."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avocet_grpc.core.errors import CorrectionsError
    from avocet_grpc.edge.answers import Hold
    from avocet_grpc.edge.unfinished import UnfinishedLines

CORRELATION = "x-correlation-id"
TRACE = "traceparent"
CORRELATION_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(slots=True)
class CallInfo:
    """`principal` is the name of the token that the call came with, empty if it came without one.

    `recheck` raises TokenRefused if the token is no longer good; a stream asks it at each message. `answers` is the
    call's share of the budget of answers, `lines` the budget of unfinished lines. `end` ends the call with an error.
    A call with many requests tells by `finished` that it needs the oldest of them no more.
    """

    method: str
    metadata: Any
    correlation_id: str
    principal: str = ""
    recheck: Callable[[], None] = lambda: None
    answers: Hold = field(init=False)
    lines: UnfinishedLines = field(init=False)
    end: Callable[[CorrectionsError], None] = lambda _: None
    finished: Callable[[], None] = lambda: None


current: ContextVar[CallInfo] = ContextVar("avocet_call")


def begin(method: str, metadata: Any) -> None:
    """A call of this method came, with these headers."""
    current.set(CallInfo(method, metadata, correlation_id(metadata)))


def correlation_id(metadata: Any) -> str:
    """Return what ties the call to its line in the log: the caller's own id, else its trace's, else a random one."""
    trace = ""
    for key, value in metadata:
        if key == CORRELATION and isinstance(value, str) and CORRELATION_ID.fullmatch(value):
            return value
        if key == TRACE and isinstance(value, str):
            trace = value[3:35]
    return trace if len(trace) == 32 and trace.isalnum() and trace.isascii() else f"{random.getrandbits(64):016x}"


def principal() -> str:
    """Return the name of the caller's token; empty if no token was required."""
    info = current.get(None)
    return info.principal if info else ""


def recheck() -> None:
    """Hold the call's token against the credentials of this moment. Raises TokenRefused."""
    if (info := current.get(None)) is not None:
        info.recheck()


def call() -> CallInfo:
    """Return the call under way."""
    return current.get()


def answers() -> Hold:
    """Return the call's share of the budget of answers."""
    return current.get().answers
