"""What a run gives: figures, and the ratios that the targets are about; kept as JSON between runs."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured thing of one side. `median` and `p99` are in `unit`; 0 where only one value was taken."""

    work: str
    side: str
    size: int
    unit: str
    median: float
    p99: float = 0.0
    count: int = 0
    at: int = 0
    """The point of a curve: callers, or examples a batch."""


@dataclass(frozen=True)
class Ratio:
    """One line of the table of targets: `value` against `target`, at most or at least."""

    name: str
    size: int
    value: float
    target: float
    at_most: bool
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.value <= self.target if self.at_most else self.value >= self.target


GROWING = {"Submit, 1 caller": 1.2, "ListHistory of one id": 1.2, "ListCandidates by token": 1.2}
"""Works that cost the same in a small store and in a large one, each with its target."""


@dataclass
class Results:
    """All figures and ratios, the newest of each, and the machine that they are of."""

    machine: str = ""
    figures: list[Figure] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)

    def take(self, found: Iterable[Figure | Ratio]) -> None:
        """Add what a run found, in place of what an earlier one found for the same."""
        for one in found:
            kept: list[Any] = self.figures if isinstance(one, Figure) else self.ratios
            kept[:] = [other for other in kept if _key(other) != _key(one)] + [one]

    def take_growth(self) -> None:
        """What a call costs in the largest store to what it costs in the smallest."""
        for work, target in GROWING.items():
            ours = {f.size: f.median for f in self.figures if (f.work, f.side) == (work, "ours")}
            if len(ours) > 1:
                small, large = min(ours), max(ours)
                self.take([Ratio(f"{work}: time to that at {small:,}", large, ours[large] / ours[small], target, True)])

    def save(self, path: Path) -> None:
        ordered = Results(self.machine, sorted(self.figures, key=_key), sorted(self.ratios, key=_key))
        path.write_text(json.dumps(asdict(ordered), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Results:
        """The results of an earlier run, or none."""
        if not path.exists():
            return Results()
        kept = json.loads(path.read_text())
        return Results(kept["machine"], [Figure(**f) for f in kept["figures"]], [Ratio(**r) for r in kept["ratios"]])


def _key(one: Figure | Ratio) -> tuple[Any, ...]:
    if isinstance(one, Figure):
        return (one.work, one.size, one.at, one.side, one.unit)
    return (one.name, one.size)


def figure(work: str, side: str, size: int, unit: str, values: Sequence[float], at: int = 0) -> Figure:
    """Median and p99 of the values."""
    highest = p99(values) if len(values) > 1 else 0.0
    return Figure(work, side, size, unit, statistics.median(values), highest, len(values), at)


def p99(values: Sequence[float]) -> float:
    """The value that 99 of 100 do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def ratio_of_rounds(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the rounds of our side to the other, taken in the same round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def this_machine() -> str:
    """The machine in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Linux {platform.release()}, Python {python}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
