"""What a decision costs the service of another commit and that of this tree, in CPU and in time, by turns.

The machine is shared, so two runs of one commit differ by a tenth. Two services that are measured by turns share its
quick and its slow minutes: each round gives a ratio of both, and the median of those is steady. A process may also be
some percent quicker or slower than another one of the same code for as long as it lives, by where its memory lies and
by its hash seed. So both services are restarted every few rounds.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from avocet_client.v1 import corrections_pb2 as pb
from tests.bench import sides, wire
from tests.bench.dataset import write_files
from tests.bench.sides import BEARER, ROOT, SERVICE, Side
from tests.bench.stage import ingestion, submissions
from tests.bench.usage import cpu_nanoseconds

MOST_DECISIONS = 1_200
"""Of one round. They are undone before the next."""
ROUNDS_A_START = 2
"""Rounds before both services are restarted on new files."""


class Cost(NamedTuple):
    """Microseconds an operation: CPU of the process that serves, and of all; how long a caller waits, at the median."""

    serving: float
    whole: float
    wait: float


COSTS = {"serving": "CPU, the process that serves", "whole": "CPU, all processes", "wait": "time of a call"}


class Subject:
    """The service of one commit on its own files."""

    def __init__(self, name: str, service: Side, seconds: float, callers: int) -> None:
        self.name = name
        self._service, self._seconds, self._callers = service, seconds, callers
        page = service.stub().Queue(pb.QueueRequest(per_page=1_000))
        self._ids = [item.id for item in page.items][:MOST_DECISIONS]

    def submit(self) -> Cost:
        """Decide on each candidate once, or as long as a round takes."""
        cost = self._cost("Submit", iter(submissions(self._ids)))
        undone = (pb.UndoRequest(id=id).SerializeToString() for id in self._ids)
        wire.run(self._service.address, f"{SERVICE}/Undo", undone, self._callers, 3600)
        return cost

    def ingest(self) -> Cost:
        """Push the same correction."""
        return self._cost("Ingest", itertools.repeat(ingestion().SerializeToString()))

    def _cost(self, method: str, messages: Iterator[bytes]) -> Cost:
        self._service.settle()
        before = cpu_nanoseconds(self._service.pid)
        load = wire.run(
            self._service.address, f"{SERVICE}/{method}", messages, self._callers, self._seconds, BEARER
        )  # fmt: skip
        if load.failed:
            raise RuntimeError(f"{load.failed} of {len(load.seconds)} calls of {method} were refused")
        self._service.settle()
        used = cpu_nanoseconds(self._service.pid) - before
        # A service of one process has no worker.
        serving = {part: ns for part, ns in used.items() if part.startswith("worker")} or used
        each = 1_000 * len(load.seconds)
        wait = 1e6 * statistics.median(load.seconds)
        return Cost(sum(serving.values()) / each, sum(used.values()) / each, wait)


def paired(base: str, size: int, rounds: int, seconds: float, callers: int, console: Console) -> None:
    """Measure Submit and Ingest of commit `base` and of this tree, and print both and their ratio."""
    works: dict[str, Callable[[Subject], Cost]] = {"Submit": Subject.submit, "Ingest": Subject.ingest}
    found: dict[str, list[tuple[Cost, Cost]]] = {work: [] for work in works}
    with tree_of(base) as tree:
        for start in range(0, rounds, ROUNDS_A_START):
            with ExitStack() as stack:
                before, after = (
                    Subject(name, stack.enter_context(_started(source, size)), seconds, callers)
                    for name, source in ((base, tree), ("this tree", ROOT))
                )
                for number in range(start, min(start + ROUNDS_A_START, rounds)):
                    first, second = (before, after) if number % 2 else (after, before)
                    for work, run in works.items():
                        costs = {one.name: run(one) for one in (first, second)}
                        found[work].append((costs[before.name], costs[after.name]))
    table = Table("us an operation, medians", base, "this tree", "by turns")
    for work, pairs in found.items():
        for field, name in COSTS.items():
            each = [(getattr(before, field), getattr(after, field)) for before, after in pairs]
            was, now = (statistics.median(side) for side in zip(*each, strict=True))
            ratio = statistics.median(after / before for before, after in each)
            table.add_row(f"{work}: {name}", f"{was:,.0f}", f"{now:,.0f}", f"{ratio:.2f} x")
    console.print(table)


@contextmanager
def tree_of(commit: str) -> Iterator[Path]:
    """The files of a commit."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "base"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


@contextmanager
def _started(source: Path, size: int) -> Iterator[Side]:
    """The service of a source tree on new files of so many candidates."""
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory) / "data", size)
        with sides.service(Path(directory), source) as service:
            yield service
