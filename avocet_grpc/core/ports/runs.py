"""What the core asks of the benchmark runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from avocet_grpc.core.lines import RunLine


@dataclass(frozen=True, slots=True)
class Run:
    """A benchmark run as the directory shows it."""

    run_id: str
    timestamp: str
    candidate_count: int
    malformed_count: int


class Runs(Protocol):
    """The benchmark runs below `bench_results_dir`. What cannot be read is left out and logged."""

    def names(self) -> list[str]:
        """Return the names of all runs that hold a candidates file, newest name first; empty without a directory."""

    def describe(self, run_id: str) -> Run:
        """Count the lines of a run; it MUST NOT hold the run in memory. Raises RunNotFound."""

    def lines(self, run_id: str) -> Iterator[RunLine]:
        """Return the lines of a run, blank ones left out, read while they are iterated. Raises RunNotFound at once."""
