"""The benchmark runs as directories below `bench_results_dir`."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import structlog

from avocet_grpc.core.errors import RunNotFound
from avocet_grpc.core.lines import RunLine, read_lines
from avocet_grpc.core.ports.runs import Run
from avocet_grpc.core.runs import is_run_name
from avocet_grpc.foreign_files import open_regular

log = structlog.get_logger("avocet_grpc")

CANDIDATES_NAME = "sft_candidates.jsonl"
PART_BYTES = 1 << 20
MOST_KEPT = 10_000
"""Runs whose counts are kept, and problems that are not logged again."""
Signature = tuple[int, ...]


class BenchRuns:
    """Implements `core.ports.Runs`; `directory` gives the current `bench_results_dir`, empty if there is none.

    A run is read in parts and never held whole. Its counts are kept until its file changes. What cannot be read is
    named in the log and left out; it hides no other run.
    """

    def __init__(self, directory: Callable[[], str]) -> None:
        self._directory = directory
        self._counts: dict[Path, tuple[Signature, int, int]] = {}
        self._said: set[tuple[str, str]] = set()
        self._counting = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of all runs, newest name first; empty if the directory cannot be read."""
        base = self._directory()
        if not base:
            return []
        try:
            found = os.listdir(base)
        except (OSError, ValueError) as error:
            self._say("the directory of runs cannot be read", "", error)
            return []
        return sorted((name for name in found if _is_plain(name) and self._is_run(base, name)), reverse=True)

    def describe(self, run_id: str) -> Run:
        """Count the lines of a run. Raises RunNotFound."""
        path = self._path(run_id)
        # One at a time: those who ask for the same run wait for its count instead of counting it as well.
        with self._counting, self._opened(path, run_id) as file:
            signature = _signature(file)
            kept = self._counts.get(path)
            if kept is None or kept[0] != signature:
                records = malformed = 0
                for _, line in self._lines(file, run_id):
                    records, malformed = records + (line.columns is not None), malformed + (line.columns is None)
                kept = signature, records, malformed
                if len(self._counts) >= MOST_KEPT:
                    self._counts.clear()
                self._counts[path] = kept
        return Run(run_id, run_id, kept[1], kept[2])

    def lines(self, run_id: str) -> Iterator[RunLine]:
        """Return the lines of a run, blank ones left out, read while they are iterated. Raises RunNotFound."""
        file = self._opened(self._path(run_id), run_id)
        return self._lines(file, run_id)

    def _lines(self, file: BinaryIO, run_id: str) -> Iterator[RunLine]:
        with file:
            try:
                yield from read_lines(iter(lambda: file.read(PART_BYTES), b""))
            except OSError as error:
                self._say("a run cannot be read", run_id, error)
                raise RunNotFound(run_id) from error

    def _path(self, run_id: str) -> Path:
        base = self._directory()
        if not base or not _is_plain(run_id):
            raise RunNotFound(run_id)
        return Path(base) / run_id / CANDIDATES_NAME

    def _opened(self, path: Path, run_id: str) -> BinaryIO:
        try:
            return open_regular(path)
        except FileNotFoundError as error:
            raise RunNotFound(run_id) from error
        except (OSError, ValueError) as error:
            self._say("a run cannot be read", run_id, error)
            raise RunNotFound(run_id) from error

    def _is_run(self, base: str, name: str) -> bool:
        try:
            os.stat(os.path.join(base, name, CANDIDATES_NAME))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, ValueError) as error:
            self._say("a run cannot be read", name, error)
            return False
        return True

    def _say(self, event: str, run_id: str, error: Exception) -> None:
        """Log it once, until the service starts again."""
        problem = getattr(error, "strerror", None) or type(error).__name__
        if (run_id, problem) not in self._said and len(self._said) < MOST_KEPT:
            self._said.add((run_id, problem))
            log.warning(event, run=run_id, error=problem)


def _signature(file: BinaryIO) -> Signature:
    seen = os.fstat(file.fileno())
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def _is_plain(name: str) -> bool:
    """Return True for a name of a run that is valid Unicode."""
    if not is_run_name(name):
        return False
    with contextlib.suppress(UnicodeEncodeError):
        name.encode()
        return True
    return False
