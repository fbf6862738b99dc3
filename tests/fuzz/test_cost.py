"""What a hostile megabyte costs beside an honest one, in time of the processor and not of the clock."""

import time
from collections.abc import Callable

import pytest

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Assignment, LogRecord
from event_log.reader import PartitionReader
from messaging_core.limits import Limits
from messaging_server.content import encode_content
from messaging_server.session import Session
from tests.fuzz.cell import Call, moment, run, running_cell
from tests.fuzz.strategies import INCARNATION, field, groups
from tests.fuzz.stream import Stream

SIZE = Limits().max_frame_bytes
MOST = 100
"""Times the cost of one text of this size. What is parsed into the most objects costs some 20, what is looked at field by
field in Python more than 400."""
LEAST_S = 0.002
"""What an honest one takes where the machine has nothing else to do."""


def full_of(unit: bytes, head: bytes = b"") -> bytes:
    """A field's value: as many of these as a frame has room for."""
    return head + unit * ((SIZE - 200 - len(head)) // len(unit))


def sending(content: bytes = field(1, b"x"), recipients: bytes = field(1, b"bob")) -> bytes:
    return _command(2, field(1, b"m1") + field(3, recipients) + field(4, content))


def _command(number: int, body: bytes) -> bytes:
    return field(1, b"\x08\x02" + field(number, body))


HONEST = sending(field(1, bytes(SIZE - 200)))
HOSTILE = {
    "commands": full_of(field(1, b"")),
    "unknown fields": full_of(b"\x78\x00"),
    "unknown fields of content": sending(full_of(b"\x78\x00", field(1, b"x"))),
    "recipients": sending(recipients=full_of(field(1, b""))),
    "attributes": sending(b"".join(field(4, field(1, b"%x" % number)) for number in range(80_000))),
    "attachments": sending(full_of(field(5, b""), field(1, b"x"))),
    "commands in a command": field(1, full_of(field(2, b""), b"\x08\x02")),
    "groups": field(1, full_of(groups(31, 90), b"\x08\x02")),
    "an id": _command(2, field(1, b"m" * (SIZE - 200))),
    "a reaction": _command(5, field(1, b"m1") + field(3, b"\xc3\xa9" * (SIZE // 2 - 200))),
    "a token": _command(17, field(1, b"a" * (SIZE - 200))),
    "a cursor": _command(3, field(1, b"a" * (SIZE - 200))),
    "a trace": field(1, b"\x08\x02" + field(2, b"") + b"\xf2\x01" + field(1, b"a" * (SIZE - 200))[1:]),
}


def least(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of the processor, the least of some tries."""
    took = []
    for _ in range(times):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return min(took)


@pytest.mark.parametrize("shape", HOSTILE)
def test_a_frame(shape: str) -> None:
    """A frame of the largest size costs no more than so many honest ones, and is refused or ends the stream by name."""
    data = HOSTILE[shape]
    assert len(data) <= SIZE
    took: list[float] = []
    for _ in range(3):
        run(_frame(data, took))
    honest = least(lambda: encode_content(_content(HONEST), SIZE))
    assert min(took) < MOST * max(honest, LEAST_S)


def _content(frame: bytes) -> messaging.Content:
    return messaging.ConnectRequest.FromString(frame).commands[0].send_message.content


async def _frame(data: bytes, took: list[float]) -> None:
    async with running_cell(Limits()) as cell:
        stream = Stream(cell)
        stream.open(messaging.Hello())
        await moment()
        (session,) = cell.server.streams_of("ann")
        assert isinstance(session, Session)
        took.append(least(lambda: session.frame(data), 1))
        assert session.outbound.outcome_bytes < 1_000
        await moment(1.0)
        call: Call = stream.call
        assert call.status is not None or call.updates()[-1].HasField("rejected")


@pytest.mark.parametrize(
    "unit", [b"\x78\x00", field(1, b""), field(2, b""), field(4, b"a"), field(5, b"a"), groups(31, 90)]
)
def test_a_record(unit: bytes) -> None:
    """A record of that size is judged for no more than so many honest ones."""
    event = messaging.Event(
        message=messaging.Message(content=messaging.Content(text="x" * SIZE))
    ).SerializeToString()
    honest = log.Record(
        origin=log.Origin(
            logged=log.LoggedEvent(kind=log.EVENT_KIND_MESSAGE, sender_id="ann", event=event),
            participant_ids=["ann"],
        )
    )

    def read(value: bytes) -> None:
        reader = PartitionReader(0, INCARNATION, 4, Assignment(0, 1, None, 0, 1))
        reader.read(LogRecord(0, 1, value))

    cost = least(lambda: read(honest.SerializeToString()))
    for number in (1, 2):
        assert least(lambda n=number: read(field(n, full_of(unit))), 1) < MOST * max(cost, LEAST_S)  # type: ignore[misc]
