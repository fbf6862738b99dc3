"""Figures as the metrics of OpenTelemetry, sent over OTLP/gRPC.

The SDK's instruments are left out: each takes a lock and some microseconds a value, and the cell counts by itself. What they
would hand to the exporter is made here from the figures.
"""

import time
from collections.abc import Iterable, Sequence

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from telemetry.metrics import Figure, Histogram, Kind, Metric
from telemetry.tracing import Attributes

EXPORT_TIMEOUT_S = 5.0
_CUMULATIVE = sdk.AggregationTemporality.CUMULATIVE


class OpenTelemetryMetrics:
    """Sends figures to a collector."""

    def __init__(self, endpoint: str, resource: Attributes) -> None:
        """Send to `endpoint`, http://HOST:PORT or https://HOST:PORT."""
        insecure = endpoint.startswith("http://")
        self._exporter = OTLPMetricExporter(endpoint=endpoint, insecure=insecure, timeout=EXPORT_TIMEOUT_S)
        self._resource = Resource.create(dict(resource))
        self._started_ns = time.time_ns()

    def send(self, figures: Iterable[Figure]) -> None:
        """Blocks until the collector has them, or EXPORT_TIMEOUT_S; what it did not take is in the next ones."""
        by_metric: dict[Metric, list[Figure]] = {}
        for figure in figures:
            by_metric.setdefault(figure.metric, []).append(figure)
        now_ns = time.time_ns()
        metrics = [self._metric(metric, found, now_ns) for metric, found in by_metric.items()]
        scope = sdk.ScopeMetrics(InstrumentationScope("messaging-cell"), metrics, "")
        self._exporter.export(sdk.MetricsData([sdk.ResourceMetrics(self._resource, [scope], "")]))

    def stop(self) -> None:
        """Send no more, and give up what is being sent."""
        self._exporter.shutdown()

    def _metric(self, metric: Metric, figures: Sequence[Figure], now_ns: int) -> sdk.Metric:
        data: sdk.DataT
        if metric.kind is Kind.HISTOGRAM:
            data = sdk.Histogram([self._histogram(figure, now_ns) for figure in figures], _CUMULATIVE)
        else:
            points = [self._number(figure, now_ns) for figure in figures]
            if metric.kind is Kind.GAUGE:
                data = sdk.Gauge(points)
            else:
                data = sdk.Sum(points, _CUMULATIVE, is_monotonic=metric.kind is Kind.COUNTER)
        return sdk.Metric(metric.name, metric.help, metric.unit, data)

    def _number(self, figure: Figure, now_ns: int) -> sdk.NumberDataPoint:
        assert not isinstance(figure.value, Histogram)
        return sdk.NumberDataPoint(_attributes(figure), self._started_ns, now_ns, figure.value)

    def _histogram(self, figure: Figure, now_ns: int) -> sdk.HistogramDataPoint:
        value = figure.value
        assert isinstance(value, Histogram)
        return sdk.HistogramDataPoint(
            _attributes(figure),
            self._started_ns,
            now_ns,
            value.count,
            value.total,
            value.counts,
            value.bounds,
            min=None,  # type: ignore[arg-type]  # which OTLP need not be told
            max=None,  # type: ignore[arg-type]
        )


def _attributes(figure: Figure) -> dict[str, str]:
    return {name: value for name, value in zip(figure.metric.labels, figure.labels, strict=True) if value}
