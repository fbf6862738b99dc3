"""Every span of a messaging server ends once, whatever becomes of what it is about."""

from typing import Any

import pytest

from event_log.port import Fate
from messaging_server.outbound import Outbound
from messaging_server.spans import Deliveries
from telemetry.tracing import MOST_SPANS
from tests.messaging_server.test_pipeline import Desk
from tests.telemetry.recording import RecordingTracer

PARENT = f"00-{2:032x}-{2:016x}-01"


class Stream:
    """What is looked at of a session."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.outbound = Outbound()


def traced() -> tuple[Desk, RecordingTracer]:
    desk, tracer = Desk(), RecordingTracer()
    desk.desk.tracer = tracer
    return desk, tracer


@pytest.mark.parametrize(
    ("fate", "append", "accept"),
    [
        (Fate.APPENDED, "", ""),
        (Fate.NOT_APPENDED, "not_appended", "UNAVAILABLE"),
        (Fate.UNKNOWN, "unknown", "UNAVAILABLE"),
    ],
)
def test_a_command_ends_with_its_outcome(fate: Fate, append: str, accept: str) -> None:
    """Its append ends with the record's fate, below the command's own span."""
    desk, tracer = traced()
    desk.send(1)
    desk.conversations.answer()
    assert tracer.ends("accept send_message") == tracer.ends("send log") == [[]]
    desk.log.settle(fate)
    assert tracer.ends("accept send_message") == [[accept]]
    assert tracer.ends("send log") == [[append]]
    accepted, sent = tracer.spans
    assert sent.parent == accepted.traceparent


def test_a_command_that_is_refused_or_dropped_ends_too() -> None:
    """One refused at once has no append; nor has one that waits for its conversation when its stream goes."""
    desk, tracer = traced()
    desk.send(1, text="")
    desk.send(2)
    assert tracer.ends("accept send_message") == [["INVALID_FIELD"], []]
    desk.pipeline.close()
    assert tracer.ends("accept send_message") == [["INVALID_FIELD"], ["stream_closed"]]
    assert tracer.ends("send log") == []


def put(deliveries: Deliveries, piece: bytes, *streams: Any) -> None:
    for stream in streams:
        stream.outbound.put_event(piece)
    deliveries.put(PARENT, 3, 7, piece, streams)


def test_a_delivery_ends_when_its_frame_is_written() -> None:
    """Not with an earlier frame of the stream; another stream's frames do not concern it."""
    tracer = RecordingTracer()
    deliveries = Deliveries(tracer, "s")
    one, two = Stream(1), Stream(2)
    put(deliveries, b"first", one, two)
    put(deliveries, b"second", one)
    one.outbound.take_frame(5)
    deliveries.written(one)  # type: ignore[arg-type]
    assert tracer.ends("deliver stream") == [[""], [], []]
    one.outbound.take_frame(100)
    deliveries.written(one)  # type: ignore[arg-type]
    deliveries.written(one)  # type: ignore[arg-type]
    assert tracer.ends("deliver stream") == [[""], [], [""]]
    deliveries.ended(two)  # type: ignore[arg-type]
    assert tracer.ends("deliver stream") == [[""], ["stream_closed"], [""]]
    assert not deliveries


def test_of_a_room_some_deliveries_are_told() -> None:
    """At most so many, and each says how many there were."""
    tracer = RecordingTracer()
    deliveries = Deliveries(tracer, "s")
    put(deliveries, b"hello", *(Stream(number) for number in range(40)))
    assert len(tracer.spans) == MOST_SPANS
    assert {span.attributes["cell.streams"] for span in tracer.spans} == {40}
