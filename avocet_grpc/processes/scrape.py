"""The metrics of all processes as one: asked of each when Prometheus comes, and added up.

A counter that fell would look like one that began again, and Prometheus would count all of it a second time. So what a
process has counted stays if the process does not answer, or has ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from avocet_grpc.edge.address import Address
from avocet_grpc.processes.child import Child, Phase, Role
from avocet_grpc.processes.messages import Family, Measure, Sample
from avocet_grpc.telemetry import logs

PATIENCE_S = 2.0
"""How long a scrape waits for processes that do not answer; then it has their counters of the last time alone."""

LAG = "avocet_files_lag_seconds"
"""The mirror's; if it is dead or does not answer, nobody else knows more than since when."""

LEAST = frozenset(
    {"process_start_time_seconds", "process_max_fds", "avocet_writes_serving", "python_info", "avocet_build_info"}
)
"""Of these the smallest counts; all others are added up."""

COUNTED = frozenset({"counter", "histogram", "summary"})
"""The types of metrics that only grow."""


class CannotMeasure(Exception):
    """The metrics cannot be served; the text is one line for the service's operator."""


class Scrape:
    """Serves `/metrics` on `listen`, unless that is empty. `wake` makes the supervisor call `ask`."""

    def __init__(self, listen: str, children: Sequence[Child], wake: Callable[[], None], stack: ExitStack) -> None:
        self._children, self._wake = children, wake
        self._one_at_a_time = threading.Lock()
        self._wanted = False
        self._missing: set[Child] = set()
        self._found: dict[Child, list[Family]] = {}
        self._counted: dict[Child, list[Family]] = {}
        self._ended: list[Family] = []
        self._complete = threading.Event()
        self._changing = threading.Lock()
        self._mirror_unseen_since: float | None = None
        if listen:
            self._serve(listen, stack)

    def _serve(self, listen: str, stack: ExitStack) -> None:
        from avocet_grpc.processes.exposition import serve

        address = Address.parse(listen, "--metrics-listen")
        if address.socket is not None:
            raise CannotMeasure("--metrics-listen must be HOST:PORT, for example 127.0.0.1:9464")
        try:
            port, end = serve(address.host, address.port, self.families, self._serving)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a name of a host"
            raise CannotMeasure(f"cannot listen on {listen} for metrics: {why}") from error
        stack.callback(end)
        logs.say(f"metrics on http://{address.text.rpartition(':')[0]}:{port}/metrics")

    def _serving(self) -> bool:
        workers = [child for child in self._children if child.role is Role.WORKER]
        return any(child.phase is Phase.RUNNING and not child.was_told_to_stop for child in workers)

    def ask(self) -> None:
        """From the supervisor: ask the processes if somebody wants to know."""
        if not self._wanted:
            return
        self._wanted = False
        self._missing = {child for child in self._children if child.phase is Phase.RUNNING}
        reader = next((child for child in self._children if child in self._missing and child.role is Role.WORKER), None)
        for child in self._missing:
            child.tell(Measure(ledger=child is reader))
        self._finish_if_complete()

    def told(self, child: Child, families: list[Family]) -> None:
        """From the supervisor: a process has answered."""
        if child in self._missing:
            with self._changing:
                self._found[child], self._counted[child] = families, counters_of(families)
            if child.role is Role.MIRROR:
                self._mirror_unseen_since = None
            self._missing.discard(child)
            self._finish_if_complete()

    def gone(self, child: Child) -> None:
        """From the supervisor: a process has ended, and will not answer."""
        if child.role is Role.MIRROR:
            self._mirror_is_unseen(time.monotonic())
        with self._changing:
            self._found.pop(child, None)
            self._ended = added_up([self._ended, self._counted.pop(child, [])])
        self._missing.discard(child)
        self._finish_if_complete()

    def _finish_if_complete(self) -> None:
        if not self._missing:
            self._complete.set()

    def families(self) -> list[Family]:
        """From the thread that serves: the metrics of all processes that answer, added up."""
        with self._one_at_a_time:
            self._found = {}
            self._complete.clear()
            self._wanted, asked_at = True, time.monotonic()
            self._wake()
            self._complete.wait(PATIENCE_S)
            if any(child.role is Role.MIRROR for child in self._missing.copy()):
                self._mirror_is_unseen(asked_at)
            self._missing = set()
            with self._changing:
                told = [*(self._counted | self._found).values(), self._ended]
            found = [*added_up(told), self._restarts()]
        since = self._mirror_unseen_since
        if since is not None and not any(name == LAG for name, *_ in found):
            lag = time.monotonic() - since
            found.append((LAG, "For how long no process has looked at the files", "gauge", [(LAG, {}, lag)]))
        return found

    def _mirror_is_unseen(self, since: float) -> None:
        if self._mirror_unseen_since is None:
            self._mirror_unseen_since = since

    def _restarts(self) -> Family:
        samples: list[Sample] = [
            ("avocet_process_restarts_total", {"process": str(child)}, float(child.restarts))
            for child in self._children
        ]
        return "avocet_process_restarts", "How often a process died and was started again", "counter", samples


def counters_of(families: Iterable[Family]) -> list[Family]:
    """Return the metrics that only grow."""
    return [family for family in families if family[2] in COUNTED]


def added_up(processes: Iterable[list[Family]]) -> list[Family]:
    """Return the metrics of several processes as those of one."""
    about: dict[str, tuple[str, str]] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in processes:
        for name, description, kind, samples in families:
            about[name] = description, kind
            known = values.setdefault(name, {})
            for sample, labels, value in samples:
                key = sample, tuple(labels.items())
                if key not in known:
                    known[key] = value
                elif sample in LEAST or sample.endswith("_created"):
                    known[key] = min(known[key], value)
                else:
                    known[key] += value
    return [
        (name, *about[name], [(sample, dict(labels), value) for (sample, labels), value in found.items()])
        for name, found in values.items()
    ]
