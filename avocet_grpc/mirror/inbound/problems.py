"""Saying once what is wrong with lines of other programs."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from avocet_grpc.core.model import File
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.scan import MAX_LINE_BYTES
from avocet_grpc.mirror.inbound.verdicts import Read

log = structlog.get_logger(__name__)

MOST_LOGGED = 20
"""How many of one batch are named; the others are counted."""


def log_malformed(file: File, reads: Iterable[Read], before: int) -> None:
    """Log each new malformed line with its file, number and reason; `before` lines stand before the scanned part."""
    bad = [one for one in reads if one.id is None]
    for one in bad[:MOST_LOGGED]:
        log.warning("malformed line", file=SHARED_FILES[file], line=before + one.line.number, reason=reason(one))
    if len(bad) > MOST_LOGGED:
        log.warning("more malformed lines", file=SHARED_FILES[file], count=len(bad) - MOST_LOGGED)


def reason(one: Read) -> str:
    """Return in plain words what is wrong with a malformed line."""
    if one.line.length > MAX_LINE_BYTES:
        return f"the line is longer than {MAX_LINE_BYTES} bytes"
    return "the line is not a JSON object with a valid id"
