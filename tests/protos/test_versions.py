"""Versions N and N+1 of a cell run side by side while it is upgraded, and read what the other has written."""

from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from cell.delivery.v1 import session_link_pb2 as link
from cell.log.v1 import record_pb2 as log
from event_log.port import LogRecord
from event_log.reader import Reading, Verdict
from session_link.port import ServerEnd
from session_link.routed import FromOwner, to_message
from tests.event_log.world import START_US, copy, make_reader, origin
from tests.session_link.test_grpc_link import METHOD, serving, until_closed
from tests.support.next_version import ADDED, as_next, next_version

LATER_LOG = next_version(log.DESCRIPTOR)
LATER_LINK = next_version(link.DESCRIPTOR)
RECORDS = [
    origin("ann", "x", 1),
    origin("ann", "x", 1),
    origin("ann", "x", 2),
    copy(1, 3),
    copy(1, 3),
    copy(1, 5, 3),
    copy(1, 9, 7),
]
"""Effective, dropped as a retry, a conflict, and copies of each kind."""
FROM_OWNER: list[Any] = [
    link.OwnerMessage(hello=link.LinkHello(instance_id="d1", log_incarnation="log", partition_count=4)),
    link.OwnerMessage(claim=link.Claim(partition=1, generation=7)),
    link.OwnerMessage(
        routed=link.Routed(partition=1, event=link.RoutedEvent(offset=3, piece=b"piece"), user_numbers=[5])
    ),
    link.OwnerMessage(
        attach_reply=link.AttachReply(partition=1, events=[link.RoutedEvent(offset=2, piece=b"e")])
    ),
]
FROM_SERVER: list[Any] = [
    link.ServerMessage(attach=link.Attach(partition=1, user_id="ann", user_number=5)),
    link.ServerMessage(detach=link.Detach(partition=1, user_number=5)),
]


def readings(values: Sequence[bytes]) -> list[Reading]:
    reader = make_reader()
    return [reader.read(LogRecord(n, START_US, value)) for n, value in enumerate(values)]


def known(messages: Sequence[Message]) -> list[Message]:
    """Without what this version does not know."""
    for message in messages:
        message.DiscardUnknownFields()  # type: ignore[attr-defined]
    return list(messages)


def test_this_version_reads_the_records_of_the_next() -> None:
    """With a new field in every message each record counts, chains and is told as before."""
    values = [as_next(log.Record.FromString(value), LATER_LOG).SerializeToString() for value in RECORDS]
    assert all(ADDED.encode() in value for value in values)
    for later, own in zip(readings(values), readings(RECORDS), strict=True):
        assert (later.verdict, later.reason, later.time_us) == (own.verdict, own.reason, own.time_us)
        if own.verdict is Verdict.EFFECTIVE:
            assert (later.recipients, later.event) == (own.recipients, own.event)


def test_the_next_version_reads_the_records_of_this() -> None:
    """They parse, with its new fields empty."""
    for value in RECORDS:
        later: Any = LATER_LOG["cell.log.v1.Record"].FromString(value)
        assert later.SerializeToString() == value
        assert later.later == ""


def test_a_record_of_a_kind_that_only_the_next_version_knows_is_set_aside() -> None:
    """It is a dead letter, which can be put back after the upgrade (R5); those after it count."""
    made: Any = LATER_LOG["cell.log.v1.Record"](later_choice=ADDED)
    first, second = readings([made.SerializeToString(), RECORDS[0]])
    assert first.reason == "neither an origin nor a copy"
    assert second.verdict.value == "effective"


async def test_links_bear_what_only_the_next_version_says() -> None:
    """Either side may be the newer: new fields are nothing, unknown messages are empty, the others come in order."""
    received: list[FromOwner] = []

    async def serve(end: ServerEnd) -> None:
        end.send(FROM_SERVER)
        received.extend(await until_closed(end))

    unknown: Any = LATER_LINK["cell.delivery.v1.OwnerMessage"](later_choice=ADDED)
    frame: Any = LATER_LINK["cell.delivery.v1.LinkRequest"](later=ADDED)
    for message in (FROM_OWNER[0], unknown, *FROM_OWNER[1:]):
        made = message if message is unknown else as_next(message, LATER_LINK)
        frame.messages.add().MergeFrom(made)
    async with serving(serve) as address, grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(METHOD)()
        await call.write(frame.SerializeToString())
        answer = LATER_LINK["cell.delivery.v1.LinkResponse"].FromString(await call.read())
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    assert [m.SerializeToString() for m in answer.messages] == [m.SerializeToString() for m in FROM_SERVER]  # type: ignore[attr-defined]
    kinds = [to_message(said).WhichOneof("message") for said in received]
    assert kinds == ["hello", None, "claim", "routed", "attach_reply"]


@pytest.mark.parametrize("side", [FROM_OWNER, FROM_SERVER], ids=["owner", "server"])
def test_link_messages_keep_what_both_versions_know(side: list[Any]) -> None:
    """There and back."""
    for message in side:
        later = as_next(message, LATER_LINK)
        assert known([type(message).FromString(later.SerializeToString())]) == [message]
        assert as_next(message, LATER_LINK) == later
