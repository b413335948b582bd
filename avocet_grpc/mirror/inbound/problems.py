"""Saying once what is wrong with lines of other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from avocet_grpc.core.model import File
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.scan import Line

log = structlog.get_logger(__name__)

MOST_LOGGED = 20
"""How many of one pass are logged by themselves; the others are counted."""
MOST_NAMED = 1_000
"""How many of one pass are known by number and reason."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A malformed line, without its bytes. `number` counts from where the scan began."""

    offset: int
    number: int
    reason: str


class MalformedLines:
    """The malformed lines that one pass finds: how many, and the first of them. It holds none of their bytes."""

    def __init__(self, reason: Callable[[Line, bytes | None], str]) -> None:
        """`reason` says what is wrong with a line, whose bytes are None if they are too many to hold."""
        self._reason = reason
        self.count = 0
        self.named: list[Malformed] = []

    def add(self, line: Line, raw: bytes | None) -> None:
        """Another one; `raw` is None if it is too long to hold."""
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(Malformed(line.offset, line.number, self._reason(line, raw)))


def log_malformed(file: File, found: MalformedLines, before: int) -> None:
    """Log each new malformed line with its file, number and reason; `before` lines stand before the scanned part."""
    for one in found.named[:MOST_LOGGED]:
        log.warning("malformed line", file=SHARED_FILES[file], line=before + one.number, reason=one.reason)
    if found.count > MOST_LOGGED:
        log.warning("more malformed lines", file=SHARED_FILES[file], count=found.count - MOST_LOGGED)
