"""Logging: one JSON object a line, to stderr."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

import structlog

STDERR = 2


def configure() -> None:
    """Set structlog up for the process."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def log_call(method: str, code: str, principal: str, seconds: float, correlation_id: str) -> None:
    """The line of one call, written directly: at thousands of calls a second the general way costs too much.

    No value needs escaping: the methods are the served ones, and names and ids have no quotes.
    """
    line = (
        f'{{"method": "{method}", "code": "{code}", "principal": "{principal}", "duration_ms": {seconds * 1000:.3f},'
        f' "correlation_id": "{correlation_id}", "event": "call", "level": "info", "timestamp": "{_now()}"}}\n'
    )
    os.write(STDERR, line.encode())


def _now() -> str:
    now = time.time()
    seconds = int(now)
    if _second[0] != seconds:
        _second[:] = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{_second[1]}.{int((now - seconds) * 1e6):06d}Z"


_second: list[Any] = [0, ""]
