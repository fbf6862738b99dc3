"""Calls that ask once: commands without a stream, and questions to history; and what a session link is told."""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from hypothesis import example
from hypothesis import strategies as st

from cell.delivery.v1 import session_link_pb2 as link
from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from history_service import embedded_reads as reads
from history_service.api import HistoryApi
from history_service.embedded_file import _SCHEMA
from history_service.embedded_writes import ADD_CONVERSATION, write
from history_service.paging import ConversationsPlace, MessagesPlace, conversations_token, messages_token
from history_service.port import (
    Batch,
    Cut,
    EventsAsked,
    EventsFound,
    HistoryStore,
    MessageKey,
    Overview,
    Page,
    Persisted,
    StoredMessage,
)
from history_service.settings import HistorySettings
from messaging_core.ids import conversation_id
from messaging_core.limits import Limits
from messaging_core.refusals import RULES, reason_name
from session_link.grpc_link import FRAME_BYTES, _frames, _ServerGrpcEnd
from session_link.in_process import in_process_link
from session_link.port import LinkBroken, LinkClosed, LinkRefused
from session_link.routed import FromOwner, from_message
from tests.fuzz.cell import Call, moment, run, running_cell
from tests.fuzz.strategies import (
    CONVERSATION_ID,
    CURSOR_TEXT,
    GOOD_REFS,
    GOOD_SENDS,
    INCARNATION,
    INT32,
    INT64,
    RECIPIENTS,
    REFS,
    SENDS,
    TEXT,
    TIMES,
    UINT32,
    UINT64,
    USER_ID,
    USERS,
    a,
    encodings,
    maybe,
)
from tests.fuzz.subjects import subject
from tests.fuzz.test_records import EVENTS
from tests.fuzz.test_session import BY_HELLO, COMMANDS, HELLOS, Client
from tests.history_service.written import WrittenLog
from tests.messaging_server.memory_log import MemoryLog

REASONS = {reason_name(reason): rule.status for reason, rule in RULES.items()}


def refusal_of(call: Call) -> error_details_pb2.ErrorInfo:
    """Why a call was refused: its status, and details that say the same."""
    (details,) = [value for key, value in call.trailers if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert call.status is not None
    assert (status.code, status.message) == (call.status.value[0], call.detail)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert len(details) < 4_096, "metadata has 8 KB"
    return info


REQUESTS = encodings(
    st.builds(
        lambda made: messaging.ExecuteRequest(commands=map(Client().command, made)),
        st.lists(COMMANDS, max_size=5),
    )
)


@subject(share=12, data=REQUESTS)
def test_execute(data: bytes) -> None:
    """Whatever is asked: one outcome a command, in order, or a refusal by name."""
    run(_execute(data))


async def _execute(data: bytes) -> None:
    async with running_cell() as cell:
        call = Call()
        call.serve(cell.servicer.execute(data, call))
        await moment(20.0)
        answer = await call.answer()
        if answer is None:
            assert REASONS[refusal_of(call).reason] is call.status is grpc.StatusCode.INVALID_ARGUMENT
            return
        commands = messaging.ExecuteRequest.FromString(data).commands
        outcomes = messaging.ExecuteResponse.FromString(answer).outcomes
        told = [getattr(outcome, outcome.WhichOneof("outcome") or "") for outcome in outcomes]
        assert [outcome.command_id for outcome in told] == [command.command_id for command in commands]
        accepted = {
            c.send_message.message_id
            for c, o in zip(commands, outcomes, strict=True)
            if o.HasField("accepted")
        } - {""}
        assert accepted == {reading.origin.command_id for reading in cell.effective()}


@subject(
    share=12,
    data=encodings(a(messaging.SendMessageRequest, send_message=maybe(SENDS | GOOD_SENDS), traceparent=TEXT)),
    token=st.sampled_from(("ann", "ann", "ann", "bad", None, "a b", "é", "~" * 256)),
)
def test_send_message(data: bytes, token: str | None) -> None:
    """Whatever is sent, by whomever: it is there and named, or it is not and the refusal has a name."""
    run(_send_message(data, token))


async def _send_message(data: bytes, token: str | None) -> None:
    async with running_cell() as cell:
        call = Call(token)
        call.serve(cell.servicer.send_message(data, call))
        await moment(20.0)
        answer = await call.answer()
        there = [reading.event.message for reading in cell.effective()]
        if answer is None:
            assert REASONS[refusal_of(call).reason] is call.status
            assert not there
            return
        (message,) = there
        asked = messaging.SendMessageRequest.FromString(data).send_message
        assert message.ref == messaging.SendMessageResponse.FromString(answer).message
        assert message.content == asked.content


@subject(share=6, data=encodings(a(messaging.SubscribeRequest, hello=maybe(HELLOS))))
def test_subscribe(data: bytes) -> None:
    """Whatever opens a stream of updates: it is opened and all that was missed comes, or it ends by name."""
    run(_subscribe(data))


async def _subscribe(data: bytes) -> None:
    async with running_cell() as cell:
        call = Call()
        call.serve(cell.servicer.subscribe(data, call))
        await moment(3.0)
        assert call.failure() is None
        if call.status is not None:
            assert call.status in (*BY_HELLO, grpc.StatusCode.FAILED_PRECONDITION)
            assert not any(update.HasField("resumed") for update in call.updates())
            return
        kinds = [update.WhichOneof("update") for update in call.updates()]
        assert kinds[:2] == ["welcome", "resumed"]


# History.

MADE = WrittenLog(1)
_REFS = [
    MADE.message(user, USERS[:2], f"m{number}", 1_000_000 * number)
    for number, user in enumerate(("ann", "bob", "ann"), 1)
]
MADE.message("cy", ["cy"], "m9", 5)
MADE.reaction("bob", USERS[:2], _REFS[0], "+", False, "r1")
MADE.read_mark("bob", USERS[:2], _REFS[1])
MADE.poison(0)


class Stored(HistoryStore):
    """The embedded store's own statements, on one connection and without its threads."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)
        self.connection.executescript(_SCHEMA)
        write(self.connection, MADE.batch(0, 0, len(MADE.records[0])))

    async def write(self, batch: Batch) -> None:
        write(self.connection, batch)

    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        self.connection.execute(ADD_CONVERSATION, (conversation_id, "\n".join(participants)))

    async def participants(self, conversation_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        return reads.participants(self.connection, conversation_ids)

    async def persisted(self, incarnation: str, partition: int) -> Persisted:
        return reads.persisted(self.connection, incarnation, partition)

    async def events(self, asked: EventsAsked) -> EventsFound:
        return reads.events(self.connection, asked)

    async def messages(
        self, conversation_id: str, cut: Cut, newer: bool, limit: int, max_bytes: int, reader_id: str
    ) -> Page[StoredMessage]:
        return reads.messages(self.connection, conversation_id, cut, newer, limit, max_bytes, reader_id)

    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        return reads.named_messages(self.connection, names, reader_id)

    async def overviews(
        self, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
    ) -> Page[Overview]:
        return reads.overviews(self.connection, user_id, before, limit, max_bytes)

    async def overview(self, user_id: str, conversation_id: str) -> Overview | None:
        return reads.overview(self.connection, user_id, conversation_id)

    async def close(self) -> None:
        self.connection.close()


class _Named:
    def verify(self, token: str) -> Any:
        from messaging_core.identity import Identity

        return Identity(token, None)


STORED = Stored()
API = HistoryApi(
    STORED,
    MemoryLog(1, INCARNATION),
    _Named(),
    HistorySettings(limits=Limits(max_recipients=5), max_page_bytes=300),
)
KINDS = {
    "list_messages": history.ListMessagesRequest,
    "get_messages": history.GetMessagesRequest,
    "list_conversations": history.ListConversationsRequest,
    "get_conversation": history.GetConversationRequest,
    "list_events": history.ListEventsRequest,
}
HANDLERS: dict[str, Any] = {
    name: API._handler(kind, getattr(API, f"_{name}")).unary_unary for name, kind in KINDS.items()
}
BOTH = conversation_id(USERS[:2])
PAGE_SIZES = st.integers(-1, 3) | INT32
KEYS = st.builds(MessageKey, INT64, USER_ID, TEXT)
TOKENS = st.one_of(
    st.builds(
        lambda key, after, newer: messages_token(MessagesPlace(Cut(key, after), newer), "ann", BOTH),
        KEYS,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda at, name, cursor: conversations_token(ConversationsPlace(at, name, cursor), "ann"),
        INT64,
        CONVERSATION_ID,
        CURSOR_TEXT,
    ),
    TEXT,
)
REAL = st.sampled_from(_REFS)


def _named(by_id: str | None, users: messaging.Recipients | None) -> history.ConversationName:
    name = history.ConversationName(conversation_id=by_id)
    if users is not None:
        getattr(name, "with").CopyFrom(users)
    return name


NAMES = st.builds(_named, st.just(BOTH) | CONVERSATION_ID, st.none() | RECIPIENTS)
QUESTIONS: dict[str, st.SearchStrategy[Any]] = {
    "list_messages": a(
        history.ListMessagesRequest,
        conversation=maybe(NAMES),
        page_size=PAGE_SIZES,
        page_token=maybe(TOKENS),
        direction=st.integers(0, 4) | INT32,
        message=maybe(REFS | GOOD_REFS | REAL),
    )
    | a(
        history.ListMessagesRequest,
        conversation=NAMES,
        page_size=PAGE_SIZES,
        direction=st.integers(0, 3),
        time=TIMES,
    ),
    "get_messages": st.builds(
        lambda refs: history.GetMessagesRequest(messages=refs), st.lists(REFS | GOOD_REFS | REAL, max_size=4)
    ),
    "list_conversations": a(history.ListConversationsRequest, page_size=PAGE_SIZES, page_token=maybe(TOKENS)),
    "get_conversation": a(history.GetConversationRequest, conversation=maybe(NAMES)),
    "list_events": a(history.ListEventsRequest, after_cursor=CURSOR_TEXT, page_size=PAGE_SIZES),
}
ASKED = st.sampled_from(sorted(QUESTIONS)).flatmap(
    lambda name: st.tuples(st.just(name), encodings(QUESTIONS[name]))
)
ANSWERS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAUTHENTICATED,
}
"""history.proto; here everything is up."""


@subject(share=20, asked=ASKED, user=st.sampled_from(("ann", "ann", "ann", "cy", "a b")))
def test_history_requests(asked: tuple[str, bytes], user: str) -> None:
    """Whatever is asked of history is answered, or refused by name; never with what the caller may not see."""
    run(_ask(*asked, user))


async def _ask(name: str, data: bytes, user: str) -> None:
    call = Call(user)
    call.serve(HANDLERS[name](data, call))
    await moment()
    answer = await call.answer()
    if answer is None:
        assert call.status in ANSWERS, (call.status, call.detail)
        assert refusal_of(call).reason in REASONS
        return
    kind = getattr(history, KINDS[name].__name__.replace("Request", "Response"))
    assert kind.FromString(answer) is not None
    if user == "cy":
        assert BOTH.encode() not in answer


# Links.

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


@subject(share=8, messages=st.lists(OWNER_MESSAGES, max_size=5))
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


@subject(share=8, frames=st.lists(LINK_FRAMES, max_size=3))
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
