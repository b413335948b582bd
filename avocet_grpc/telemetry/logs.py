"""Logging: one JSON object a line to stderr, readable lines if stderr is a terminal.

Each process calls `configure` once. What libraries log, warn of or print to `sys.stderr`, and exceptions that nobody
caught, become lines of the same form. Only `say` writes plain lines: those that the documentation names.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from avocet_grpc.telemetry.log_writer import STDERR, LineWriter
from avocet_grpc.wording import counted

LEVELS = ("debug", "info", "warning", "error")
MOST_TEXT = 6_000
"""Characters of one value in a line; a longer one is cut in its middle."""

Event = MutableMapping[str, Any]


def configure(level: str = "info", *, process: str = "", take_stderr: bool = True) -> None:
    """Set logging up for this process: lines below `level` (one of LEVELS) are left out.

    `process` names the process in each line. With `take_stderr`, what is printed to `sys.stderr` becomes lines of the
    log; a command whose user reads its messages on stderr says False.
    """
    _keep_standard_descriptors()
    number: int = getattr(logging, level.upper())
    readable = os.isatty(STDERR)
    _form.process, _form.calls = process, number <= logging.INFO
    _form.render = _readable() if readable else structlog.processors.JSONRenderer(default=repr)
    _form.is_json = not readable
    structlog.configure(
        processors=[_line],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Out(),
        cache_logger_on_first_use=False,
    )
    _take_standard_logging(number)
    if take_stderr:
        sys.stderr = _PrintedLines()


def say(text: str) -> None:
    """Write one plain line to stderr, in order with the log's lines. Never waits, never fails."""
    WRITER.put(text)


def flush(within: float = 1.0) -> None:
    """Wait until all lines so far are written, but no longer than `within` seconds; for a process that ends at once."""
    WRITER.flush(within)


def dropped() -> int:
    """Return how many lines of this process could not be written so far."""
    return WRITER.dropped


def log_call(method: str, code: str, principal: str, seconds: float, correlation_id: str) -> None:
    """Write the line of one call. The general way costs too much at thousands of calls a second.

    No value needs escaping: the methods are the served ones, and names and ids have no quotes.
    """
    if not _form.calls:
        return
    if not _form.is_json:
        took = round(seconds * 1000, 3)
        log.info("call", method=method, code=code, principal=principal, duration_ms=took, correlation_id=correlation_id)
        return
    process = f'"process": "{_form.process}", ' if _form.process else ""
    WRITER.put(
        f'{{"method": "{method}", "code": "{code}", "principal": "{principal}", "duration_ms": {seconds * 1000:.3f},'
        f' "correlation_id": "{correlation_id}", {process}"event": "call", "level": "info", "timestamp": "{_now()}"}}'
    )


class _Form:
    """How lines look in this process."""

    process = ""
    calls = True
    is_json = True
    render: Callable[[Any, str, Any], Any] = staticmethod(structlog.processors.JSONRenderer(default=repr))


class _Out:
    """What structlog hands its finished lines to."""

    def msg(self, line: str) -> None:
        WRITER.put(line)

    debug = info = warning = error = critical = exception = fatal = msg


class _PrintedLines(io.TextIOBase):
    """`sys.stderr` for code that knows no logging: each line printed becomes a line of the log."""

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            if _form.is_json:
                log.warning(line, logger="stderr")
            else:
                say(line)
        return len(text)

    def fileno(self) -> int:
        return STDERR

    def isatty(self) -> bool:
        return os.isatty(STDERR)

    def writable(self) -> bool:
        return True


class _StandardHandler(logging.Handler):
    """Standard logging's records as lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:
            text = str(record.msg)
        level = min(max(record.levelno, logging.DEBUG), logging.CRITICAL)
        log.log(level // 10 * 10, text, logger=record.name, exc_info=record.exc_info)


def _keep_standard_descriptors() -> None:
    """If one was closed at the start, the next file opened would get its number, and our lines with it."""
    for number in (0, 1, STDERR):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given, and that is this one.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)


def _take_standard_logging(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_StandardHandler()]
    root.setLevel(level)
    if level > logging.DEBUG:
        # Each error of a call is logged by us; what gRPC adds is a stack for each caller that has gone.
        logging.getLogger("grpc").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _uncaught("uncaught", (kind, error, trace))
    threading.excepthook = lambda hook: _uncaught(
        "uncaught", (hook.exc_type, hook.exc_value, hook.exc_traceback), thread=getattr(hook.thread, "name", "")
    )
    sys.unraisablehook = lambda hook: _uncaught(
        "unraisable", (hook.exc_type, hook.exc_value, hook.exc_traceback), text=str(hook.err_msg or "")
    )


def _uncaught(event: str, error: Any, **about: str) -> None:
    log.critical(event, exc_info=error, **about)


def _line(logger: Any, name: str, event: Event) -> str:
    """Make a line of an event. Raises nothing, whatever was logged: a caller's answer must not depend on it."""
    event["level"], event["timestamp"] = "critical" if name == "fatal" else name, _now()
    if _form.process:
        event["process"] = _form.process
    try:
        whole: Event = structlog.processors.format_exc_info(logger, name, event) if _form.is_json else event
        shown = _bounded if _form.is_json else _visible
        return str(_form.render(logger, name, {key: shown(value) for key, value in whole.items()}))
    except Exception as error:
        text = {"event": str(event.get("event"))[:MOST_TEXT], "level": name, "timestamp": event["timestamp"]}
        return json.dumps(text | {"not_rendered": type(error).__name__})


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MOST_TEXT:
        return f"{value[: MOST_TEXT // 2]} [...] {value[-MOST_TEXT // 2 :]}"
    return value


def _visible(value: Any) -> Any:
    """As `_bounded`, for a terminal: what would act on it is written as its escape. JSON escapes it by itself."""
    bounded = _bounded(value)
    if not isinstance(bounded, str) or bounded.isprintable():
        return bounded
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in bounded)


def _readable() -> Callable[[Any, str, Any], Any]:
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _dropped_line(count: int) -> str:
    return _line(None, "warning", {"event": f"{counted(count, 'line')} dropped", "count": count})


def _now() -> str:
    now = time.time()
    second, text = _second[0]
    if second != int(now):
        second, text = _second[0] = int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(now)))
    return f"{text}.{int((now - second) * 1e6):06d}Z"


_second: list[tuple[int, str]] = [(0, "")]
_form = _Form()
WRITER = LineWriter(STDERR, _dropped_line)
log = structlog.get_logger("avocet_grpc")
