"""Prometheus metrics: what one process counts, and what the ledger knows. The supervisor adds the processes up."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from avocet_grpc import __version__
from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.core.model import CandidateFilter, File, Stats, Status
from avocet_grpc.core.observer import Observer
from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.core.ports.mirror import FileReport
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.telemetry import guard
from avocet_grpc.telemetry.logs import dropped

EXPORT = "/avocet.corrections.v1.CorrectionsService/StreamExport"
WATCH = "/avocet.corrections.v1.CorrectionsService/Watch"
LAG = "avocet_files_lag_seconds"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics(Observer):
    """Counts what happens in one process. What the ledger knows anyway is asked of it when Prometheus comes."""

    reload_failures: Callable[[], int] | None = None
    """How often a changed file was not taken up; None in a process that reads none again."""

    lag_seconds: Callable[[], float] | None = None
    """For how long the files have lacked something; None but in the mirror."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        calls = Counter("avocet_calls", "Calls that ended", ["method", "code"], registry=self.registry)
        seconds = Histogram(
            "avocet_call_seconds", "Duration of calls", ["method"], buckets=SECONDS, registry=self.registry
        )
        # Looking a label up costs more than counting, so each is looked up once.
        self._calls = _Children(lambda method, code: calls.labels(method, code).inc)
        self._seconds = _Children(lambda method: seconds.labels(method).observe)
        self.under_way: dict[str, int] = defaultdict(int)
        self._commits = Histogram(
            "avocet_commit_changes", "Changes made durable by one commit", buckets=BATCH, registry=self.registry
        )
        self._syncs = Histogram(
            "avocet_commit_sync_seconds", "Writing one commit to the disk", buckets=SECONDS, registry=self.registry
        )
        self._pruned = Counter("avocet_pruned_rows", "Old rows that were deleted", registry=self.registry)
        self._foreign = Counter(
            "avocet_foreign_edits", "Others' edits of the shared files", ["outcome"], registry=self.registry
        )
        self.writes_serve = True
        self.registry.register(_State(self))
        build = Gauge("avocet_build_info", "1; what is running", ["version", "python", "grpc"], registry=self.registry)
        build.labels(__version__, platform.python_version(), version("grpcio")).set(1)

    def call_began(self, method: str) -> None:
        """A call is under way."""
        self.under_way[method] += 1

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """It has ended."""
        self.under_way[method] -= 1
        self._calls[method, code]()
        self._seconds[(method,)](seconds)

    def refused_as_full(self) -> None:
        """Changes were refused because the disk is full."""
        self.writes_serve = False

    def pruned(self, rows: int) -> None:
        self._pruned.inc(rows)

    def committed(self, changes: int, sync_seconds: float) -> None:
        self.writes_serve = True
        self._commits.observe(changes)
        self._syncs.observe(sync_seconds)

    def reconciled(self, accepted: int, undone: int) -> None:
        self._foreign.labels("accepted").inc(accepted)
        self._foreign.labels("undone").inc(undone)


class _State(Collector):
    """How the process is at the moment when Prometheus asks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        metrics = self._metrics
        under_way = GaugeMetricFamily("avocet_calls_under_way", "Calls under way", labels=["method"])
        for method, count in sorted(metrics.under_way.items()):
            under_way.add_metric([method], count)
        yield under_way
        yield _gauge("avocet_exports_under_way", "Exports under way", metrics.under_way[EXPORT])
        yield _gauge("avocet_watches_under_way", "Watches under way", metrics.under_way[WATCH])
        yield _gauge("avocet_writes_serving", "0 while the disk is full", metrics.writes_serve)
        if metrics.lag_seconds is not None:
            yield _gauge(LAG, "For how long the files lack what was stored", metrics.lag_seconds())
        if metrics.reload_failures is not None:
            yield CounterMetricFamily(
                "avocet_reload_failures",
                "Changed tokens or certificates not taken up",
                value=metrics.reload_failures(),
            )
        yield CounterMetricFamily("avocet_log_lines_dropped", "Log lines that could not be written", value=dropped())
        background = CounterMetricFamily(
            "avocet_background_failures", "Failures of background tasks, observers and listeners", labels=["what"]
        )
        for what, count in sorted(guard.failures.items()):
            background.add_metric([what], count)
        yield background


class LedgerCollector(Collector):
    """What the ledger knows at the moment when Prometheus asks. `reports` gives the mirror's reports, `keeper` who
    keeps the files if servers share the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        reports: Callable[[], Mapping[File, FileReport | None]],
        keeper: Callable[[], KeeperState | None] = lambda: None,
    ) -> None:
        self._ledger, self._reports, self._keeper = ledger, reports, keeper

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            (stats, team), reports = (
                self._ledger.read(lambda reader: (_stats(reader), _of_team(reader))),
                self._reports(),
            )
            keeper = self._keeper()
        except Exception as error:
            if not isinstance(error, CorrectionsError):
                guard.failed("metrics", error)
            yield _readable(0)
            return
        yield _readable(1)
        yield from _of_stats(stats)
        yield from team
        waiting = GaugeMetricFamily("avocet_files_pending_lines", "Lines that a file lacks", labels=["file"])
        for file, report in reports.items():
            waiting.add_metric([SHARED_FILES[file]], report.pending if report is not None else 0)
        yield waiting
        if keeper is not None:
            lag = "How many revisions the shared files are behind the store"
            yield _gauge("avocet_keeper_lag_revisions", lag, keeper.lag_revisions)
            seen = "When the keeper of the files was seen last, Unix time in seconds; 0 if there never was one"
            yield _gauge("avocet_keeper_last_seen", seen, keeper.seen_at)


class _Children(dict[tuple[str, ...], Callable[..., None]]):
    """What `make` gives for a key, made once."""

    def __init__(self, make: Callable[..., Callable[..., None]]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: tuple[str, ...]) -> Callable[..., None]:
        child = self[key] = self._make(*key)
        return child


def _stats(reader: TeamReader) -> Stats:
    return reader.stats(CandidateFilter())


def _of_team(reader: TeamReader) -> list[Metric]:
    """Return what the ledger knows of claims, of snapshots, and of how much of the past it keeps."""
    kept = GaugeMetricFamily(
        "avocet_kept_from_revision", "The oldest revision that is kept of the history, and for exports", labels=["what"]
    )
    kept.add_metric(["history"], reader.log.floor())
    kept.add_metric(["exports"], reader.first_revision())
    return [
        _gauge("avocet_claimed_candidates", "Candidates that a reviewer holds", reader.claims.count(CandidateFilter())),
        _gauge("avocet_snapshots", "Snapshots", reader.snapshots.count()),
        kept,
    ]


def _of_stats(stats: Stats) -> Iterable[Metric]:
    candidates = GaugeMetricFamily("avocet_candidates", "Candidates by their status word", labels=["status"])
    # Other programs write their own words, and each would be a series of its own.
    others = sum(count for word, count in stats.by_status.items() if word not in set(Status))
    for word in Status:
        candidates.add_metric([word], stats.by_status.get(word, 0))
    candidates.add_metric(["other"], others)
    yield candidates
    yield _gauge("avocet_queue_depth", "Candidates in review", stats.by_status.get(Status.NEEDS_REVIEW, 0))
    yield _gauge("avocet_exportable_examples", "Examples that an export sends", stats.export_ready)
    yield _gauge("avocet_malformed_lines", "Lines of both files that are not records", stats.malformed)
    yield _gauge("avocet_duplicate_ids", "Lines of both files that repeat an id", stats.duplicate_ids)
    yield _gauge("avocet_revision", "The newest revision", stats.revision)


def _readable(is_readable: int) -> GaugeMetricFamily:
    return _gauge("avocet_ledger_readable", "1 while the ledger can be read", is_readable)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
