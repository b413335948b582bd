"""Lines at which the service's own code fails: each is set aside alone, so that it holds no other line up.

A line that is set aside stays in its file, byte for byte. It counts as malformed until the next start, which tries it
again: a later version of the service may understand it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import structlog

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.ports.mirror import Fenced, NotEmpty
from avocet_grpc.core.record import content_of, malformed_reason
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.mirror.fs.disk import FileChanged
from avocet_grpc.mirror.fs.scan import Line
from avocet_grpc.mirror.index_database import IndexDamaged
from avocet_grpc.mirror.lines import exportable

log = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

FORESEEN = (CorrectionsError, Fenced, FileChanged, IndexDamaged, MemoryError, NotEmpty, OSError)
"""These say something of the ledger, of the disk or of the machine."""
LINE_STATES = ("22", "23", "54")
"""Classes of SQLSTATE that say something of a value: what it is, a constraint, a limit."""
REASON = "the service failed at the line, which is tried again at the next start"


class SetAside:
    """The lines of one file that are set aside, by the digest of their bytes."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._digests: set[bytes] = set()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def know(self, digests: Iterable[bytes]) -> None:
        """Count these lines as set aside, and say nothing."""
        self._digests.update(digests)

    def add(self, digest: bytes, error: Exception) -> None:
        """Set a line aside, and say so with the error's traceback: the fault is the service's own."""
        self._digests.add(digest)
        text = f"{type(error).__name__}: {error}"
        log.error("line set aside", file=SHARED_FILES[self._file], error=text, exc_info=error)

    def parsed(self, line: Line) -> ParsedLine:
        """Return the line, read, with all that the mirror derives from it. One that is set aside is malformed."""
        if line.digest not in self._digests:
            try:
                parsed = line.parsed()
                if parsed.columns is not None:
                    content_of(parsed)
                    exportable(self._file, parsed)
            except Exception as error:
                if not is_of_a_line(error):
                    raise
                self.add(line.digest, error)
            else:
                return parsed
        return ParsedLine(line.raw or b"", line.digest, None)

    def reason(self, line: Line, raw: bytes | None) -> str:
        """Say in plain words why a line is malformed; `raw` is None if it is too long to hold."""
        return REASON if line.digest in self._digests else malformed_reason(raw or b"")


def is_of_a_line(error: Exception) -> bool:
    """Return whether an error may come of the line in hand; False if it would meet any other line too."""
    if isinstance(error, sqlite3.Error):
        return isinstance(error, sqlite3.DataError | sqlite3.InterfaceError | sqlite3.ProgrammingError)
    state = getattr(error, "sqlstate", None)
    return not isinstance(error, FORESEEN) and (state is None or state.startswith(LINE_STATES))


def judged(asked: Sequence[T], judge: Callable[[Sequence[T]], Sequence[R]]) -> list[R | Exception]:
    """Return what the command says of each, in order; an exception in the place of what it fails at.

    What fails is halved until it is known. A command that fails also without anything in it tells nothing of a line:
    its error is raised, and so is any that is not of a line.
    """
    try:
        return [*judge(asked)]
    except Exception as error:
        if not is_of_a_line(error) or not asked:
            raise
        if len(asked) == 1:
            judge(asked[:0])
            return [error]
    half = len(asked) // 2
    return judged(asked[:half], judge) + judged(asked[half:], judge)
