"""The HTTP listener for Prometheus; the supervisor loads it only if somebody wants metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from avocet_grpc.processes.messages import Family


def serve(host: str, port: int, families: Callable[[], list[Family]]) -> tuple[int, Callable[[], None]]:
    """Listen for Prometheus, and answer with `families`. Gives the port, and what ends it. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(_Told(families))
    server, thread = start_http_server(port, host, registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, end


def families_of(*collectors: Collector) -> list[Family]:
    """What these know now, to be sent to the supervisor."""
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
