"""The HTTP listener for Prometheus; the supervisor loads it only if somebody wants metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from avocet_grpc.processes.messages import Family
from avocet_grpc.telemetry import listener


def serve(
    host: str, port: int, families: Callable[[], list[Family]], serving: Callable[[], bool]
) -> tuple[int, Callable[[], None]]:
    """Answer Prometheus with `families`, and probes with `serving()`. Return the port, and what ends it.

    Raises OSError.
    """
    registry = CollectorRegistry()
    registry.register(_Told(families))
    return listener.serve(host, port, registry, serving)


def families_of(*collectors: Collector) -> list[Family]:
    """Return what these know now, to be sent to the supervisor."""
    return [
        (
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples],
        )
        for collector in collectors
        for metric in collector.collect()
    ]


class _Told(Collector):
    def __init__(self, families: Callable[[], list[Family]]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        for name, description, kind, samples in self._families():
            metric = Metric(name, description, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, labels, value)
            yield metric
