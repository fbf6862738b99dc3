import logging
import random
from collections.abc import Callable

import pytest
from opentelemetry import trace

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.commands import react, send_message
from messaging_client.kept import Change, Put
from messaging_client.outbox import Outbox
from messaging_client.outgoing import FRAMING_BYTES, View
from messaging_client.settings import ClientSettings
from messaging_client.stream import Stream
from messaging_client.trace_context import MAX_TRACEPARENT_BYTES, opentelemetry_context, present
from messaging_client.values import MessageRef, NotifyLevel

HERE = trace.SpanContext(0xA1, 0xB2, is_remote=False, trace_flags=trace.TraceFlags(1))
TRACEPARENT = f"00-{0xA1:032x}-{0xB2:016x}-01"


def test_the_current_span_of_the_application_is_passed_on() -> None:
    """Inside a span of OpenTelemetry it is that span's context, outside there is none."""
    assert opentelemetry_context() == ""
    with trace.use_span(trace.NonRecordingSpan(HERE)):
        assert opentelemetry_context() == TRACEPARENT
    assert opentelemetry_context() == ""


def _fails() -> str:
    raise RuntimeError("no context here")


@pytest.mark.parametrize("source", [_fails, lambda: "x" * 65, lambda: "\u00fc", lambda: "a\n", lambda: 5])
def test_a_source_that_fails_costs_no_command(
    source: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be a trace context, or raises, is logged and left out: the cell would refuse the command for it."""
    with caplog.at_level(logging.WARNING):
        assert present(source) == ""
    assert len(caplog.records) == 1
    assert present(lambda: TRACEPARENT) == TRACEPARENT


def _outbox() -> tuple[Outbox, list[Change]]:
    journal: list[Change] = []
    return Outbox(10, 10_000, journal, random.Random(0), in_order=True), journal


def test_a_command_carries_it_into_the_frame_and_over_a_restart() -> None:
    """The context is the command's own until it is sent, by this process or by the one that finds it in the store."""
    outbox, journal = _outbox()
    outgoing = send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "one")
    outgoing.traceparent = TRACEPARENT
    outbox.add(outgoing, posted=True)
    (put,) = journal
    assert isinstance(put, Put)
    again, _ = _outbox()
    again.load([put.command])
    for each in (outbox, again):
        (kept,) = each.take(View(1, 0.0, messaging.Limits()), 1, 0.0, 1)
        numbered = Stream(1, ClientSettings(), 0.0).numbered(kept.command, kept)
        assert numbered.traceparent == TRACEPARENT
        assert numbered.send_message == outgoing.command.send_message


def test_the_same_command_in_another_trace_is_the_same_command() -> None:
    """A caller that tries again, within another span, joins the first try; it is no conflict."""
    outbox, _ = _outbox()
    for traceparent in ("", TRACEPARENT):
        outgoing = send_message("hi", "bob", "", None, NotifyLevel.NORMAL, "one")
        outgoing.traceparent = traceparent
        outbox.add(outgoing, posted=False)
    assert len(outbox) == 1


def test_framing_counts_the_longest_context() -> None:
    """What is allowed for in a frame is more than number, context, tags and length take."""
    outgoing = react(MessageRef("C" * 22, "bob", "m", 1), "+", (), removed=False)
    outgoing.traceparent = "x" * MAX_TRACEPARENT_BYTES
    stream = Stream(1, ClientSettings(), 0.0)
    stream._last_id = 2**63
    assert stream.numbered(outgoing.command, outgoing).ByteSize() + 6 <= outgoing.size + FRAMING_BYTES
