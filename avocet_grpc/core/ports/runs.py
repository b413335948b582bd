"""What the core asks of the benchmark runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from avocet_grpc.core.model import ParsedLine


@dataclass(frozen=True, slots=True)
class Run:
    """A benchmark run as the directory shows it."""

    run_id: str
    timestamp: str
    candidate_count: int
    malformed_count: int


class Runs(Protocol):
    """The benchmark runs below `bench_results_dir`."""

    def names(self) -> list[str]:
        """Names of all runs that hold a candidates file, newest name first; empty without a directory."""

    def describe(self, run_id: str) -> Run:
        """Count the lines of a run. Raises RunNotFound."""

    def lines(self, run_id: str) -> list[ParsedLine]:
        """All lines of a run, blank ones left out. Raises RunNotFound."""
