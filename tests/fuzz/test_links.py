"""What a session link is told, by whatever is at its other end."""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from hypothesis import example
from hypothesis import strategies as st

from cell.delivery.v1 import session_link_pb2 as link
from cell.messaging.v1 import messaging_pb2 as messaging
from session_link.grpc_link import FRAME_BYTES, _frames, _ServerGrpcEnd
from session_link.in_process import in_process_link
from session_link.port import LinkBroken, LinkClosed, LinkRefused
from session_link.routed import FromOwner, from_message
from tests.fuzz.cell import Call, moment, run, running_cell
from tests.fuzz.strategies import (
    INCARNATION,
    INT32,
    INT64,
    REFS,
    TEXT,
    UINT32,
    UINT64,
    USER_ID,
    a,
    encodings,
    maybe,
)
from tests.fuzz.subjects import subject
from tests.fuzz.test_records import EVENTS

EVENT_PIECES = encodings(
    EVENTS.map(lambda event: messaging.ConnectResponse(updates=[messaging.Update(event=event)]))
)
PARTITION = st.integers(0, 3) | UINT32
ROUTED = a(
    link.RoutedEvent,
    offset=st.integers(0, 9) | INT64,
    piece=EVENT_PIECES,
    event_time_us=INT64,
    direct_ref=encodings(REFS) | st.just(b""),
    sender_id=USER_ID,
)
OWNER_MESSAGES = st.one_of(
    a(
        link.OwnerMessage,
        hello=a(link.LinkHello, instance_id=TEXT, log_incarnation=TEXT, partition_count=UINT32),
    ),
    a(link.OwnerMessage, claim=a(link.Claim, partition=PARTITION, generation=st.integers(0, 3) | INT64)),
    a(link.OwnerMessage, release=a(link.Release, partition=PARTITION)),
    a(
        link.OwnerMessage,
        routed=st.builds(
            link.Routed,
            partition=PARTITION,
            event=maybe(ROUTED),
            user_numbers=st.lists(st.integers(0, 3) | UINT32, max_size=3),
            everyone=st.booleans(),
        ),
    ),
    a(
        link.OwnerMessage,
        attach_reply=st.builds(
            link.AttachReply,
            partition=PARTITION,
            session_number=st.integers(0, 3) | UINT64,
            attempt=st.integers(0, 3) | UINT32,
            outcome=st.integers(0, 6) | INT32,
            events=st.lists(ROUTED, max_size=2),
            through_offset=INT64,
            through_time_us=INT64,
        ),
    ),
    a(
        link.OwnerMessage,
        through=a(link.Through, partition=PARTITION, offset=st.integers(-1, 9) | INT64, time_us=INT64),
    ),
    a(
        link.OwnerMessage,
        conflict_notice=a(link.ConflictNotice, partition=PARTITION, user_number=UINT32, command_id=TEXT),
    ),
    st.just(link.OwnerMessage()),
)
CLAIMS = [link.OwnerMessage(claim=link.Claim(partition=partition, generation=9)) for partition in range(3)]


def _bad_ref() -> list[link.OwnerMessage]:
    event = link.RoutedEvent(offset=5, piece=b"", direct_ref=b"\xff", sender_id="bob")
    routed = link.Routed(partition=0, event=event, everyone=True)
    return [*(link.OwnerMessage(routed=_in(routed, partition)) for partition in range(3))]


def _in(routed: link.Routed, partition: int) -> link.Routed:
    moved = link.Routed()
    moved.CopyFrom(routed)
    moved.partition = partition
    return moved


def _attached(attach: link.Attach) -> link.OwnerMessage:
    reply = link.AttachReply(
        partition=attach.partition,
        session_number=attach.session_number,
        attempt=attach.attempt,
        outcome=link.ATTACH_OUTCOME_ATTACHED,
        through_offset=-1,
    )
    return link.OwnerMessage(attach_reply=reply)


async def _link(messages: list[link.OwnerMessage]) -> None:
    async with running_cell() as cell:
        call = Call().connect(cell)
        hello = messaging.Command(command_id=1, hello=messaging.Hello())
        call.send(messaging.ConnectRequest(commands=[hello]).SerializeToString())
        await moment()
        owner, server = in_process_link()
        serving = asyncio.create_task(cell.server.serve_link(server))
        opening = link.LinkHello(instance_id="other", log_incarnation=INCARNATION, partition_count=3)
        with suppress(LinkClosed):
            owner.send([link.OwnerMessage(hello=opening), *CLAIMS])
            await moment()
            asked = [message.attach for message in await owner.receive() if message.HasField("attach")]
            owner.send([_attached(attach) for attach in asked])
            await moment()
            for message in messages:
                owner.send([from_message(message)])
                await moment()
            await moment(2.0)
        await owner.close()
        with suppress(LinkBroken, LinkRefused):
            await serving
        ping = messaging.Command(command_id=2, ping=messaging.Ping())
        call.send(messaging.ConnectRequest(commands=[ping]).SerializeToString())
        await moment(3.0)
        assert call.failure() is None
        if call.status is None:
            assert any(b"\x22" in frame for frame in call.frames)
        else:  # an owner may say that the position is past the end, and the log agrees
            assert call.status is grpc.StatusCode.OUT_OF_RANGE


@subject(share=8, short=50, messages=st.lists(OWNER_MESSAGES, max_size=5))
@example(_bad_ref())
def test_owner_messages(messages: list[link.OwnerMessage]) -> None:
    """Whatever an owner says, its link ends by name or goes on, and streams outlive it."""
    run(_link(messages))


LINK_FRAMES = encodings(
    st.builds(lambda messages: link.LinkRequest(messages=messages), st.lists(OWNER_MESSAGES, max_size=3))
)


class _Frames:
    """A call that has these frames to read."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = list(frames)

    async def read(self) -> Any:
        return self.frames.pop(0) if self.frames else grpc.aio.EOF

    async def write(self, frame: bytes) -> None:
        pass


@subject(share=8, short=50, frames=st.lists(LINK_FRAMES, max_size=3))
def test_link_frames(frames: list[bytes]) -> None:
    """Frames of a link give their messages in order up to the first that does not parse, which is told apart."""
    run(_receive(frames))


async def _receive(frames: list[bytes]) -> None:
    end = _ServerGrpcEnd(_Frames(frames), 1_000_000)  # type: ignore[arg-type]
    got: list[FromOwner] = []
    with suppress(LinkClosed):
        while True:
            got += await end.receive()
    await end.close()
    sent: list[FromOwner] = []
    broken = False
    for frame in frames:
        try:
            sent += map(from_message, link.LinkRequest.FromString(frame).messages)
        except DecodeError:
            broken = True
            break
    assert end.unparsable is broken
    assert got == sent


@subject(
    share=3,
    short=50,
    messages=st.lists(OWNER_MESSAGES.map(lambda message: message.SerializeToString()), max_size=6),
    large=st.booleans(),
)
def test_link_frames_made(messages: list[bytes], large: bool) -> None:
    """Frames hold the messages that they were made of, in order."""
    if large:
        messages = [
            *messages,
            link.OwnerMessage(
                routed=link.Routed(event=link.RoutedEvent(piece=bytes(FRAME_BYTES)))
            ).SerializeToString(),
            *messages,
        ]
    made = _frames(messages)
    assert sum(size for _, size in made) == sum(map(len, messages))
    found = [m for frame, _ in made for m in link.LinkRequest.FromString(frame).messages]
    assert found == [link.OwnerMessage.FromString(message) for message in messages]
