"""The trace that a command belongs to: of the application's own doing, passed on to the cell."""

import logging
import sys
from collections.abc import Callable

_log = logging.getLogger("messaging_client")
MAX_TRACEPARENT_BYTES = 64

TraceContext = Callable[[], str]
"""Gives the W3C traceparent of what the application is doing, empty for nothing. Asked in the task of each call."""


def opentelemetry_context() -> str:
    """That of the current span, where the application has loaded OpenTelemetry; nothing is loaded here."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def present(source: TraceContext) -> str:
    """What the source gives, if the cell would take it. It never costs a command: what fails is logged."""
    try:
        traceparent = source()
        if len(traceparent) <= MAX_TRACEPARENT_BYTES and traceparent.isascii() and traceparent.isprintable():
            return traceparent
        _log.warning("this is no trace context: %.100r", traceparent)
    except Exception:
        _log.exception("there is no trace context")
    return ""
