"""The benchmark runs as directories below `bench_results_dir`."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path

from avocet_grpc.core.errors import RunNotFound
from avocet_grpc.core.model import ParsedLine
from avocet_grpc.core.ports.runs import Run
from avocet_grpc.core.record import parse
from avocet_grpc.foreign_files import read_regular

CANDIDATES_NAME = "sft_candidates.jsonl"


class BenchRuns:
    """Implements `core.ports.Runs`; `directory` gives the current `bench_results_dir`, empty where there is none."""

    def __init__(self, directory: Callable[[], str]) -> None:
        self._directory = directory

    def names(self) -> list[str]:
        """Names of all runs, newest name first; empty where the directory cannot be read."""
        base = self._directory()
        if not base:
            return []
        try:
            found = [entry.name for entry in Path(base).iterdir() if (entry / CANDIDATES_NAME).is_file()]
        except (OSError, ValueError):
            return []
        return sorted((name for name in found if _is_plain(name)), reverse=True)

    def describe(self, run_id: str) -> Run:
        """Count the lines of a run. Raises RunNotFound."""
        lines = self.lines(run_id)
        malformed = sum(line.columns is None for line in lines)
        return Run(run_id, run_id, len(lines) - malformed, malformed)

    def lines(self, run_id: str) -> list[ParsedLine]:
        """All lines of a run, blank ones left out, and a byte-order mark at its start. Raises RunNotFound.

        A last line needs no newline.
        """
        base = self._directory()
        if not base or not _is_plain(run_id):
            raise RunNotFound(run_id)
        try:
            data = read_regular(Path(base) / run_id / CANDIDATES_NAME)
        except (OSError, ValueError) as error:
            raise RunNotFound(run_id) from error
        return [parse(raw) for raw in data.removeprefix(BOM_UTF8).split(b"\n") if raw.strip()]


def _is_plain(name: str) -> bool:
    """True for one path component that is valid Unicode and that Import takes."""
    if name in ("", ".") or ".." in name or any(c in name for c in "/\\\0"):
        return False
    return not any("\ud800" <= c <= "\udfff" for c in name)
