"""A tracer that keeps what it is told."""

from telemetry.trace_context import TraceContext
from telemetry.tracing import Attributes, Span, SpanKind, Tracer


class Recorded(Span):
    def __init__(self, name: str, parent: str, attributes: Attributes, number: int) -> None:
        self.name = name
        self.parent = parent
        self.attributes = dict(attributes)
        self.ends: list[str] = []
        """With which errors it ended: one entry, sooner or later."""
        self._traceparent = str(TraceContext(1, number, True))

    @property
    def traceparent(self) -> str:
        return self._traceparent

    def tell(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def end(self, error: str = "", attributes: Attributes | None = None) -> None:
        self.ends.append(error)
        self.attributes |= attributes or {}


class RecordingTracer(Tracer):
    """Samples everything."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def samples(self, traceparent: str) -> bool:
        return True

    def start(self, name: str, kind: SpanKind, parent: str, attributes: Attributes) -> Span:
        self.spans.append(Recorded(name, parent, attributes, len(self.spans) + 1))
        return self.spans[-1]

    def ends(self, name: str) -> list[list[str]]:
        """How the spans of this name have ended."""
        return [span.ends for span in self.spans if span.name == name]
