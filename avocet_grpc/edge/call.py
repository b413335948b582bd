"""What is known of the call under way: set by the outermost interceptor, filled in by the inner ones."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class CallInfo:
    """`principal` is the name of the token that the call came with, empty where it came without one."""

    method: str
    correlation_id: str
    principal: str = ""


current: ContextVar[CallInfo] = ContextVar("avocet_call")


def principal() -> str:
    """The name of the caller's token; empty where no token was asked for."""
    info = current.get(None)
    return info.principal if info else ""
