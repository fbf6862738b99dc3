"""An OpenTelemetry collector that keeps what it is sent: OTLP over gRPC on a free port."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

DEADLINE_S = 30.0


class Seen(NamedTuple):
    """A span as it came."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    service: str
    attributes: Mapping[str, Any]
    start_ns: int
    end_ns: int

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.id}-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.metrics: dict[str, metrics_pb2.Metric] = {}
        """The latest of each name."""
        self.is_slow = False
        self.endpoint = ""

    async def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        if self.is_slow:
            await asyncio.sleep(DEADLINE_S)
        for resource_spans in request.resource_spans:
            resource = _values(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                self.spans += [_seen(span, str(resource["service.name"])) for span in scope_spans.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    async def until(self, is_so: Callable[[list[Seen]], object]) -> list[Seen]:
        """Wait for what was sent to be so."""
        end = time.monotonic() + DEADLINE_S
        while not is_so(self.spans):
            assert time.monotonic() < end, [(span.name, span.attributes) for span in self.spans]
            await asyncio.sleep(0.02)
        return self.spans


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, kept: Collector) -> None:
        self._kept = kept

    async def Export(self, request: Any, context: Any) -> metrics_service_pb2.ExportMetricsServiceResponse:
        for resource_metrics in request.resource_metrics:
            for scope_metrics in resource_metrics.scope_metrics:
                self._kept.metrics |= {metric.name: metric for metric in scope_metrics.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    kept, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(kept), server)
    kept.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield kept
    finally:
        await server.stop(None)


def _seen(span: trace_pb2.Span, service: str) -> Seen:
    return Seen(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        service,
        _values(span.attributes),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
