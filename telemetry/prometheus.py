"""Figures for Prometheus to fetch: its text format over HTTP, at any path, by a thread of its own.

Names follow OpenTelemetry's rules for Prometheus, as a collector's exporter does, so dashboards are the same both ways.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from telemetry.metrics import Figure, Histogram, Kind, Metric
from telemetry.tracing import Attributes

_UNITS = {"s": "seconds", "By": "bytes"}
_FAMILIES: dict[Kind, type[CounterMetricFamily | GaugeMetricFamily]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.LEVEL: GaugeMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
}


def prometheus_name(metric: Metric) -> str:
    """What Prometheus calls a metric; the series of a histogram have more behind it."""
    unit = _UNITS.get(metric.unit)
    name = _underscores(metric.name) + (f"_{unit}" if unit else "")
    return f"{name}_total" if metric.kind is Kind.COUNTER else name


class PrometheusPort:
    """Answers from when it is made until it is stopped."""

    def __init__(
        self, host: str, port: int, resource: Attributes, figures: Callable[[], Iterable[Figure]]
    ) -> None:
        """`figures` is called in other threads. Raises OSError where the port cannot be taken."""
        registry = CollectorRegistry(auto_describe=False)
        self._server: WSGIServer
        self._thread: threading.Thread
        registry.register(_Figures(resource, figures))
        self._server, self._thread = start_http_server(port, host, registry)
        self.port = self._server.server_port

    def stop(self) -> None:
        """Take no more calls. Blocks for a moment."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Figures(Collector):
    def __init__(self, resource: Attributes, figures: Callable[[], Iterable[Figure]]) -> None:
        self._target = InfoMetricFamily(
            "target",
            "Target metadata",
            value={_underscores(name): str(value) for name, value in resource.items()},
        )
        self._figures = figures

    def describe(self) -> Iterator[Family]:
        """Nothing, or it would be asked for its figures when it is registered."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """All metrics as they are now."""
        yield self._target
        by_metric: dict[Metric, list[Figure]] = {}
        for figure in self._figures():
            by_metric.setdefault(figure.metric, []).append(figure)
        for metric, found in by_metric.items():
            yield _histograms(metric, found) if metric.kind is Kind.HISTOGRAM else _numbers(metric, found)


def _numbers(metric: Metric, figures: Iterable[Figure]) -> Family:
    family = _FAMILIES[metric.kind](prometheus_name(metric), metric.help, labels=_labels(metric))
    for figure in figures:
        assert not isinstance(figure.value, Histogram)
        family.add_metric(figure.labels, figure.value)
    return family


def _histograms(metric: Metric, figures: Iterable[Figure]) -> Family:
    family = HistogramMetricFamily(prometheus_name(metric), metric.help, labels=_labels(metric))
    for figure in figures:
        value = figure.value
        assert isinstance(value, Histogram)
        bounds = [*map(str, map(float, value.bounds)), "+Inf"]
        family.add_metric(
            figure.labels, list(zip(bounds, accumulate(value.counts), strict=True)), value.total
        )
    return family


def _labels(metric: Metric) -> list[str]:
    return [_underscores(name) for name in metric.labels]


def _underscores(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name)
