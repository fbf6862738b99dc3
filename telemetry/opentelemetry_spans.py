"""Spans by the OpenTelemetry SDK, sent over OTLP/gRPC by a thread of its own.

The cell decides what is sampled before there is a span, so the SDK keeps all that it is given: in a bounded queue, whose
oldest spans are dropped while the collector is away or slow. Nothing waits for it.
"""

import threading
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from telemetry import trace_context
from telemetry.sampling import Sampler
from telemetry.trace_context import TraceContext
from telemetry.tracing import Attributes, Span, SpanKind, Tracer

EXPORT_TIMEOUT_S = 5.0
QUEUED_SPANS = 4_096
"""Not taken away yet: some 10 MB. Beyond: the oldest are dropped."""
SENT_AT_ONCE = 512
SEND_EVERY_S = 5.0
_STOP_S = 2.0
"""What a stop waits for a collector that is slow."""
_KINDS: Final = {
    SpanKind.SERVER: trace.SpanKind.SERVER,
    SpanKind.PRODUCER: trace.SpanKind.PRODUCER,
    SpanKind.CONSUMER: trace.SpanKind.CONSUMER,
}
_SAMPLED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


class OpenTelemetryTracer(Tracer):
    """Makes spans until it is stopped."""

    def __init__(self, endpoint: str, resource: Attributes, sampler: Sampler) -> None:
        """Send to `endpoint`, http://HOST:PORT or https://HOST:PORT."""
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_TIMEOUT_S
        )
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=QUEUED_SPANS,
            max_export_batch_size=SENT_AT_ONCE,
            schedule_delay_millis=SEND_EVERY_S * 1_000,
        )
        self._provider = TracerProvider(ALWAYS_ON, Resource.create(dict(resource)), shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("messaging-cell")
        self._sampler = sampler

    def samples(self, traceparent: str) -> bool:
        """See Tracer.samples."""
        return self._sampler.samples(traceparent)

    def start(self, name: str, kind: SpanKind, parent: str, attributes: Attributes) -> Span:
        """See Tracer.start."""
        span = self._tracer.start_span(name, _context(parent), _KINDS[kind], dict(attributes))
        return _Span(span)

    def stop(self) -> None:
        """Send what is queued, if the collector takes it within two seconds; else it is dropped. Blocks for no longer."""
        stopping = threading.Thread(target=self._provider.shutdown, name="spans-stop", daemon=True)
        stopping.start()
        stopping.join(_STOP_S)
        if stopping.is_alive():
            self._exporter.shutdown()
            stopping.join(_STOP_S)


class _Span(Span):
    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        context = self._span.get_span_context()
        return str(TraceContext(context.trace_id, context.span_id, True))

    def tell(self, attributes: Attributes) -> None:
        self._span.set_attributes(dict(attributes))

    def end(self, error: str = "", attributes: Attributes | None = None) -> None:
        span = self._span
        if attributes:
            span.set_attributes(dict(attributes))
        if error:
            span.set_attribute("error.type", error)
            span.set_status(trace.StatusCode.ERROR)
        span.end()


def _context(parent: str) -> Context:
    """What a span below `parent` is started in: never what happens to be current."""
    above = trace_context.parse(parent)
    if above is None:
        return Context()
    context = trace.SpanContext(above.trace_id, above.span_id, is_remote=True, trace_flags=_SAMPLED)
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
