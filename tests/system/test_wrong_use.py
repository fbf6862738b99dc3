"""Whatever a client does wrong has a typed answer.

The stream survives where the fault is one command's, and nothing is told that is not the caller's to know.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import jwt
import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from tests.system.cell_process import SECRET, CellProcess, token
from tests.system.conftest import Connect
from tests.system.history_pages import with_users
from tests.system.ledger import message_ids
from tests.system.plain_client import PlainClient, bearer, new_id, text_message
from tests.system.raw_stream import error_info, frame, hello, say

pytestmark = pytest.mark.timeout(180)

MAX_IN_FLIGHT = 32
MAX_SENDS = 40

INVALID, TOO_LARGE = messaging.REJECTED_REASON_INVALID_FIELD, messaging.REJECTED_REASON_TOO_LARGE
NOT_FOUND, CURSOR_INVALID = messaging.REJECTED_REASON_NOT_FOUND, messaging.REJECTED_REASON_CURSOR_INVALID
NOT_DONE = messaging.REJECTED_OUTCOME_NOT_DONE


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    """A cell with small limits."""
    settings: dict[str, object] = {
        "hello_timeout_s": 2,
        "max_in_flight": MAX_IN_FLIGHT,
        "max_sends_per_second": MAX_SENDS,
        "max_streams_per_user": 3,
    }
    with CellProcess(tmp_path_factory.mktemp("cell"), settings) as running:
        yield running
        assert "Traceback" not in running.output


# -- tokens --------------------------------------------------------------------------------------------------------------


def signed(key: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    return jwt.encode({"sub": "ann", "exp": int(time.time()) + 600, **claims}, key, algorithm=algorithm)


WRONG_METADATA = {
    "nothing": (),
    "empty": (("authorization", ""),),
    "no bearer": (("authorization", token("ann")),),
    "another scheme": (("authorization", f"Basic {token('ann')}"),),
    "no token": (("authorization", "Bearer "),),
    "garbage": bearer("garbage"),
    "three parts of garbage": bearer("a.b.c"),
    "another key": bearer(signed("another secret of at least 32 bytes, too")),
    "run out": bearer(signed(exp=int(time.time()) - 3_600)),
    "not yet": bearer(signed(nbf=int(time.time()) + 3_600)),
    "not signed": bearer(signed("", "none")),
    "cut": bearer(token("ann")[:-3]),
    "no user": bearer(signed(sub="")),
    "a user id with a space": bearer(signed(sub="ann and bob")),
    "a user id beyond ASCII": bearer(signed(sub="änn")),
    "a long user id": bearer(signed(sub="a" * 256)),
}


@pytest.mark.parametrize("metadata", WRONG_METADATA.values(), ids=WRONG_METADATA.keys())
async def test_a_bad_token_opens_nothing(cell: CellProcess, metadata: tuple[tuple[str, str], ...]) -> None:
    """Without a token that holds every call is UNAUTHENTICATED, and the answer does not show the token."""
    async with PlainClient(cell.address, "ann", token) as ann:
        send = text_message("x", ["bob"])
        calls = [
            ann.messaging.Execute(messaging.ExecuteRequest(commands=[send]), metadata=metadata),
            ann.messaging.SendMessage(
                messaging.SendMessageRequest(send_message=send.send_message), metadata=metadata
            ),
            ann.history.ListMessages(history.ListMessagesRequest(), metadata=metadata),
            ann.history.GetMessages(history.GetMessagesRequest(), metadata=metadata),
            ann.history.ListConversations(history.ListConversationsRequest(), metadata=metadata),
            ann.history.GetConversation(history.GetConversationRequest(), metadata=metadata),
            ann.history.ListEvents(history.ListEventsRequest(), metadata=metadata),
            ann.messaging.Subscribe(
                messaging.SubscribeRequest(hello=messaging.Hello()), metadata=metadata
            ).read(),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        heard = await say(cell, metadata, frame(hello()), done=False)
        assert heard.code == grpc.StatusCode.UNAUTHENTICATED
        assert heard.updates == []
        given = "".join(value for _, value in metadata)
        assert (
            not given or given.removeprefix("Bearer ").strip()[-20:] not in heard.details or len(given) < 20
        )


# -- streams that end ----------------------------------------------------------------------------------------------------

PING = messaging.Command(ping=messaging.Ping())
FAULTY_STREAMS = {
    "garbage": ([b"\xff\xff\xff\xff"], grpc.StatusCode.INVALID_ARGUMENT),
    "garbage after hello": ([frame(hello()), b"\x0a\xff"], grpc.StatusCode.INVALID_ARGUMENT),
    "another message": ([frame(hello()), b"\x0a\x05hello"], grpc.StatusCode.INVALID_ARGUMENT),
    "text that is no UTF-8": (
        [frame(hello()), b"\x0a\x08\x08\x02\x12\x04\x0a\x02\xff\xfe"],
        grpc.StatusCode.INVALID_ARGUMENT,
    ),
    "an empty frame": ([b""], grpc.StatusCode.INVALID_ARGUMENT),
    "an empty frame after hello": ([frame(hello()), b""], grpc.StatusCode.INVALID_ARGUMENT),
    "too many commands": ([frame(hello()), frame(*[PING] * 65)], grpc.StatusCode.INVALID_ARGUMENT),
    "no hello": ([frame(PING)], grpc.StatusCode.FAILED_PRECONDITION),
    "a message before hello": ([frame(text_message("x", ["bob"]))], grpc.StatusCode.FAILED_PRECONDITION),
    "hello twice": ([frame(hello(), hello())], grpc.StatusCode.FAILED_PRECONDITION),
    "hello again": ([frame(hello()), frame(hello())], grpc.StatusCode.FAILED_PRECONDITION),
    "hello late": ([], grpc.StatusCode.DEADLINE_EXCEEDED),
    "no cursor": ([frame(hello(resume_after="nonsense"))], grpc.StatusCode.INVALID_ARGUMENT),
    "a cursor of its length": ([frame(hello(resume_after="A" * 36))], grpc.StatusCode.INVALID_ARGUMENT),
    "a long cursor": ([frame(hello(resume_after="A" * 100_000))], grpc.StatusCode.INVALID_ARGUMENT),
    "a long client id": ([frame(hello(client_id="x" * 65))], grpc.StatusCode.INVALID_ARGUMENT),
    "many features": ([frame(hello(features=["x"] * 33))], grpc.StatusCode.INVALID_ARGUMENT),
}


@pytest.mark.parametrize(("frames", "code"), FAULTY_STREAMS.values(), ids=FAULTY_STREAMS.keys())
async def test_a_fault_of_the_stream_ends_it(
    cell: CellProcess, frames: list[bytes], code: grpc.StatusCode
) -> None:
    """A bad frame; hello missing, twice or late; no cursor: the contract's status, in words of its own."""
    heard = await say(cell, bearer(token("faulty")), *frames, done=False)
    assert heard.code == code
    assert heard.details
    for word in ("protobuf", "Traceback", "Error", "Exception", "cell.messaging", "None"):
        assert word not in heard.details


async def test_a_frame_that_is_too_large_ends_the_stream(cell: CellProcess) -> None:
    """A frame above the transport's bound ends the stream with a status; the next stream works."""
    huge = frame(text_message("x" * 3_000_000, ["bob"]))
    heard = await say(cell, bearer(token("huge")), frame(hello()), huge, done=False)
    assert heard.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    heard = await say(cell, bearer(token("huge")), frame(hello()))
    assert heard.code == grpc.StatusCode.OK


async def test_a_cursor_of_another_user_is_refused(cell: CellProcess, connect: Connect) -> None:
    """A cursor of another partition is refused as what is no cursor is; nothing of the other user is told."""
    async with connect("cursor-owner") as owner:
        await owner.send("x", ["cursor-owner"])
        cursor = owner.ledger.events[0].cursor
    codes = set()
    for n in range(12):  # some of these are in the same partition, where it is a cursor like any other
        heard = await say(cell, bearer(token(f"thief{n}")), frame(hello(resume_after=cursor)))
        codes.add(heard.code)
        assert heard.of("event") == []
    assert codes in (
        {grpc.StatusCode.INVALID_ARGUMENT},
        {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK},
    )


async def test_subscribe_without_hello_is_refused(cell: CellProcess, connect: Connect) -> None:
    """Subscribe needs its hello as Connect does, and refuses the same ones."""
    async with connect("subscriber") as ann:
        cases = [
            (messaging.SubscribeRequest(), grpc.StatusCode.FAILED_PRECONDITION),
            (
                messaging.SubscribeRequest(hello=messaging.Hello(resume_after="?")),
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
        ]
        for request, code in cases:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ann.messaging.Subscribe(request, metadata=ann.metadata).read()
            assert caught.value.code() == code


async def test_a_user_has_so_many_streams(cell: CellProcess, connect: Connect) -> None:
    """One stream more than a user may have is RESOURCE_EXHAUSTED, the others stay; when one is gone there is room."""
    async with connect("many") as one, connect("many") as two:
        async with connect("many") as three:
            async with connect("many", reconnects=False) as four:
                assert await four.until_ended() == grpc.StatusCode.RESOURCE_EXHAUSTED
            for client in (one, two, three):
                await client.done(messaging.Command(ping=messaging.Ping()))
        async with connect("many") as again:
            await again.done(messaging.Command(ping=messaging.Ping()))


# -- commands that are refused -------------------------------------------------------------------------------------------


def message(**fields: object) -> messaging.Command:
    """A message that is right but for these fields; None leaves one out."""
    right: dict[str, object] = {
        "message_id": new_id(),
        "recipients": messaging.Recipients(user_ids=["peer"]),
        "content": messaging.Content(text="right"),
    }
    wrong = {name: value for name, value in (right | fields).items() if value is not None}
    return messaging.Command(send_message=messaging.SendMessage(**wrong))  # type: ignore[arg-type]


def content(**fields: object) -> messaging.Command:
    return message(content=messaging.Content(**fields))  # type: ignore[arg-type]


def attached(**fields: object) -> messaging.Command:
    right: dict[str, object] = {"uri": "https://example.org/x", "content_type": "image/png"}
    return content(attachments=[messaging.Attachment(**(right | fields))])  # type: ignore[arg-type]


def to(*users: str) -> messaging.Command:
    return message(recipients=messaging.Recipients(user_ids=users))


def ref(**fields: object) -> messaging.MessageRef:
    right: dict[str, object] = {"conversation_id": "A" * 22, "sender_id": "peer", "message_id": "m"}
    made = messaging.MessageRef(**(right | fields))  # type: ignore[arg-type]
    made.sent_at.FromSeconds(1_700_000_000)
    return made


def react(**fields: object) -> messaging.Command:
    right: dict[str, object] = {"reaction_id": new_id(), "message": ref(), "key": "👍"}
    wrong = {name: value for name, value in (right | fields).items() if value is not None}
    return messaging.Command(react=messaging.React(**wrong))  # type: ignore[arg-type]


TOO_MANY = messaging.REJECTED_REASON_TOO_MANY_RECIPIENTS
UNSUPPORTED = messaging.REJECTED_REASON_UNSUPPORTED
FAULTY_COMMANDS = {
    "nothing": (messaging.Command(), UNSUPPORTED, "", 0),
    "a command to come": (messaging.Command.FromString(b"\xca\x01\x00"), UNSUPPORTED, "", 0),
    "no message id": (message(message_id=""), INVALID, "message_id", None),
    "a message id with a space": (message(message_id="a b"), INVALID, "message_id", None),
    "a message id with a line end": (message(message_id="ab\n"), INVALID, "message_id", None),
    "a message id beyond ASCII": (message(message_id="ä"), INVALID, "message_id", None),
    "a long message id": (message(message_id="a" * 65), None, "message_id", 64),
    "no recipients": (message(recipients=None), INVALID, None, None),
    "an empty set of recipients": (to(), INVALID, "recipients.user_ids", None),
    "an empty recipient": (to("peer", ""), INVALID, None, None),
    "a recipient with a space": (to("a b"), INVALID, None, None),
    "a recipient beyond ASCII": (to("ä"), INVALID, None, None),
    "a long recipient": (to("a" * 256), INVALID, None, None),
    "a recipient twice": (to("peer", "peer"), INVALID, "recipients.user_ids", None),
    "too many recipients": (to(*[f"u{n}" for n in range(1_001)]), TOO_MANY, "recipients.user_ids", 1_000),
    "no content": (message(content=None), INVALID, "content", None),
    "empty content": (content(), INVALID, "content", None),
    "empty text": (content(text=""), INVALID, "content.text", None),
    "too much text": (content(text="x" * 65_536), TOO_LARGE, "content", 65_536),
    "too much data": (content(data=b"x" * 65_536, content_type="a/b"), TOO_LARGE, "content", 65_536),
    "data without a type": (content(data=b"x"), INVALID, "content.content_type", None),
    "no media type": (content(text="x", content_type="text"), INVALID, "content.content_type", None),
    "a long media type": (
        content(text="x", content_type="a/" + "b" * 126),
        TOO_LARGE,
        "content.content_type",
        127,
    ),
    "too many attributes": (
        content(text="x", attributes={f"k{n}": "" for n in range(17)}),
        TOO_LARGE,
        "content.attributes",
        16,
    ),
    "an attribute without a key": (
        content(text="x", attributes={"": "v"}),
        INVALID,
        "content.attributes",
        None,
    ),
    "a long key": (content(text="x", attributes={"k" * 65: "v"}), TOO_LARGE, "content.attributes", 64),
    "large attributes": (
        content(text="x", attributes={"k": "v" * 1_024}),
        TOO_LARGE,
        "content.attributes",
        1_024,
    ),
    "too many attachments": (
        content(attachments=[messaging.Attachment(uri="a:b", content_type="a/b")] * 11),
        TOO_LARGE,
        "content.attachments",
        10,
    ),
    "an attachment nowhere": (attached(uri=""), INVALID, "content.attachments[0].uri", None),
    "a relative URI": (attached(uri="x/y"), INVALID, "content.attachments[0].uri", None),
    "a long URI": (attached(uri="a:" + "b" * 2_047), TOO_LARGE, "content.attachments[0].uri", 2_048),
    "an attachment of no type": (
        attached(content_type=""),
        INVALID,
        "content.attachments[0].content_type",
        None,
    ),
    "a negative size": (attached(size_bytes=-1), INVALID, "content.attachments[0].size_bytes", None),
    "a short hash": (attached(sha256=b"x"), INVALID, "content.attachments[0].sha256", 32),
    "a long name": (attached(name="n" * 256), TOO_LARGE, "content.attachments[0].name", 255),
    "no conversation id": (
        message(recipients=None, conversation_id="short"),
        INVALID,
        "conversation_id",
        None,
    ),
    "an unknown conversation": (message(recipients=None, conversation_id="A" * 22), NOT_FOUND, None, None),
    "a reply elsewhere": (message(reply_to=ref()), INVALID, "reply_to.conversation_id", None),
    "a reply to nothing": (message(reply_to=messaging.MessageRef()), INVALID, None, None),
    "a reaction to nothing": (react(message=None), INVALID, "message", None),
    "a reaction without a key": (react(key=""), INVALID, "key", None),
    "a long reaction": (react(key="👍" * 17), TOO_LARGE, "key", 64),
    "a reaction without an id": (react(reaction_id=""), INVALID, "reaction_id", None),
    "a reaction to an unknown conversation": (react(), NOT_FOUND, None, None),
    "participants of another conversation": (
        react(participants=messaging.Recipients(user_ids=["peer"])),
        INVALID,
        "participants",
        None,
    ),
    "a mark without a message": (messaging.Command(mark_read=messaging.MarkRead()), INVALID, "through", None),
    "a mark in an unknown conversation": (
        messaging.Command(mark_read=messaging.MarkRead(through=ref())),
        NOT_FOUND,
        None,
        None,
    ),
    "an acknowledgement of nothing": (
        messaging.Command(acknowledge=messaging.Acknowledge(cursor="nonsense")),
        CURSOR_INVALID,
        None,
        None,
    ),
    "a bad new token": (
        messaging.Command(refresh_token=messaging.RefreshToken(token="x")),
        messaging.REJECTED_REASON_TOKEN_INVALID,
        None,
        None,
    ),
    "a new token of another user": (
        messaging.Command(refresh_token=messaging.RefreshToken(token=token("someone-else"))),
        messaging.REJECTED_REASON_TOKEN_INVALID,
        None,
        None,
    ),
    "a long trace context": (
        messaging.Command(send_message=message().send_message, traceparent="0" * 65),
        TOO_LARGE,
        "traceparent",
        64,
    ),
}
FaultyCommand = tuple[messaging.Command, int | None, str | None, int | None]


@pytest.mark.parametrize("row", FAULTY_COMMANDS.values(), ids=FAULTY_COMMANDS.keys())
@pytest.mark.parametrize("transport", ["connect", "subscribe"])
async def test_a_fault_of_a_command_leaves_the_stream(
    connect: Connect, row: FaultyCommand, transport: str
) -> None:
    """It is rejected, certainly not done, with reason, field and limit; what comes after it on the stream works."""
    command, reason, field, limit = row
    on_stream_only = command.WhichOneof("command") in ("acknowledge", "refresh_token")
    if transport == "subscribe" and on_stream_only:
        reason, field, limit = UNSUPPORTED, None, None
    sent = messaging.Command()
    sent.CopyFrom(command)
    async with connect("clumsy", transport=transport, resume_after=None) as ann:
        submission = await ann.do(sent)
        rejected = submission.rejected
        assert rejected is not None
        assert not submission.accepted
        assert rejected.outcome == NOT_DONE
        assert rejected.detail
        assert rejected.message_id == submission.id
        if reason is not None:
            assert rejected.reason == reason
        if field is not None:
            assert rejected.field == field or (not field and rejected.field == "command")
        if limit is not None:
            assert rejected.limit == limit
        await ann.until_resumed()
        right = await ann.send("right", ["peer"])
        await ann.done(messaging.Command(ping=messaging.Ping()))
        assert message_ids(ann.ledger.events) == [right.ref.message_id]
        assert ann.streams == 1
        assert ann.strays == []


async def test_command_ids_rise(cell: CellProcess) -> None:
    """A command id of 0, or one that does not rise, is rejected and echoed; the stream goes on."""
    ids = [(0, False), (7, True), (7, False), (3, False), (8, True)]
    pings = [messaging.Command(command_id=number, ping=messaging.Ping()) for number, _ in ids]
    opening = hello()
    opening.command_id = 1
    raw = messaging.ConnectRequest(commands=[opening, *pings]).SerializeToString()
    heard = await say(cell, bearer(token("numbers")), raw)
    assert heard.code == grpc.StatusCode.OK
    assert [pong.command_id for pong in heard.of("pong")] == [7, 8]
    assert [(rejected.command_id, rejected.reason) for rejected in heard.of("rejected")] == [
        (number, INVALID) for number, right in ids if not right
    ]


async def test_the_conversations_of_others_do_not_exist(connect: Connect) -> None:
    """Writing, reacting or marking where one does not take part is answered as where nothing is, word for word."""
    async with connect("in1") as ann, connect("in2") as bob, connect("outside") as eve:
        secret = await ann.send("secret", ["in2"])
        await bob.message("in1", secret.ref.message_id)
        nowhere = messaging.MessageRef()
        nowhere.CopyFrom(secret.ref)
        nowhere.conversation_id = "B" * 22

        async def answers(at: messaging.MessageRef) -> list[tuple[int, str, str, int]]:
            commands = [
                message(recipients=None, conversation_id=at.conversation_id),
                react(message=at),
                messaging.Command(unreact=messaging.Unreact(reaction_id=new_id(), message=at, key="x")),
                messaging.Command(mark_read=messaging.MarkRead(through=at)),
                messaging.Command(mark_received=messaging.MarkReceived(through=at)),
            ]
            told = [(await eve.do(command)).rejected for command in commands]
            assert all(rejected is not None and rejected.outcome == NOT_DONE for rejected in told)
            return [(r.reason, r.field, r.detail, r.limit) for r in told if r is not None]

        existing, missing = await answers(secret.ref), await answers(nowhere)
        assert existing == missing
        assert {reason for reason, *_ in existing} == {NOT_FOUND}
        fence = await ann.send("fence", ["in2"])
        await bob.message("in1", fence.ref.message_id)
        assert message_ids(bob.ledger.events) == [secret.ref.message_id, fence.ref.message_id]
        assert len(bob.ledger.events) == 2
        assert eve.ledger.events == []


async def test_an_id_stands_for_one_payload(connect: Connect) -> None:
    """The same id with the same payload is accepted and told once; with another it is a conflict; the first stands."""
    async with (
        connect("twice") as phone,
        connect("twice", transport="subscribe") as browser,
        connect("peer2") as bob,
    ):
        first = await phone.send("first", ["peer2"], "one-id")
        for client in (phone, browser):
            await client.done(text_message("first", ["peer2"], "one-id"))
            conflict = (await client.do(text_message("second", ["peer2"], "one-id"))).rejected
            assert conflict is not None
            assert conflict.reason == messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT
            assert conflict.message_id == "one-id"
        fence = await phone.send("fence", ["peer2"])
        for client in (phone, browser, bob):
            await client.message("twice", fence.ref.message_id)
            texts = [event.message.content.text for event in client.ledger.events]
            assert texts == ["first", "fence"]
        assert (await bob.message("twice", "one-id")) == first


async def test_too_many_in_flight_are_rejected_not_stalled(cell: CellProcess) -> None:
    """Commands beyond the limit get TOO_MANY_IN_FLIGHT with a hint; a ping is answered; the others are done."""
    opening = hello(live_only=True)
    opening.command_id = 1
    sends = [text_message(str(n), ["peer3"]) for n in range(60)]
    for number, command in enumerate(sends, 2):
        command.command_id = number
    ping = messaging.Command(command_id=100, ping=messaging.Ping())
    raw = messaging.ConnectRequest(commands=[*sends, ping]).SerializeToString()
    heard = await say(
        cell, bearer(token("flood")), messaging.ConnectRequest(commands=[opening]).SerializeToString(), raw
    )
    assert heard.code == grpc.StatusCode.OK
    assert [pong.command_id for pong in heard.of("pong")] == [100]
    accepted, rejected = heard.of("accepted"), heard.of("rejected")
    assert sorted(outcome.command_id for outcome in [*accepted, *rejected]) == list(range(2, 62))
    assert len(accepted) >= MAX_IN_FLIGHT
    assert rejected
    for one in rejected:
        assert one.reason == messaging.REJECTED_REASON_TOO_MANY_IN_FLIGHT
        assert one.outcome == NOT_DONE
        assert one.HasField("retry_after")


async def test_too_many_a_second_are_told_when_to_come_back(connect: Connect) -> None:
    """Sends beyond the rate get RATE_LIMITED with a hint; a client that keeps to the hints gets all through, once."""
    async with connect("hasty") as ann:
        submissions = [ann.submit(text_message(str(n), ["peer4"])) for n in range(4 * MAX_SENDS)]
        await ann.settle(*submissions)
        assert all(submission.accepted for submission in submissions)
        limited = [r for submission in submissions for r in submission.rejections]
        assert messaging.REJECTED_REASON_RATE_LIMITED in {r.reason for r in limited}
        assert all(r.outcome == NOT_DONE and r.HasField("retry_after") for r in limited)
        await ann.until_events(len(submissions))
        assert sorted(message_ids(ann.ledger.events)) == sorted(s.id for s in submissions)


# -- unary calls ---------------------------------------------------------------------------------------------------------

Call = Callable[[PlainClient], Awaitable[object]]


def sending(command: messaging.Command) -> Call:
    request = messaging.SendMessageRequest(send_message=command.send_message)
    return lambda client: client.messaging.SendMessage(request, metadata=client.metadata)


def listing(**fields: object) -> Call:
    request = history.ListMessagesRequest(**fields)  # type: ignore[arg-type]
    return lambda client: client.history.ListMessages(request, metadata=client.metadata)


NOTE = with_users("unary")
FAULTY_CALLS: dict[str, tuple[Call, grpc.StatusCode, str]] = {
    "no content": (sending(message(content=None)), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    "too much": (sending(content(text="x" * 65_536)), grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE"),
    "too many": (
        sending(to(*map(str, range(1_001)))),
        grpc.StatusCode.INVALID_ARGUMENT,
        "TOO_MANY_RECIPIENTS",
    ),
    "unknown conversation": (
        sending(message(recipients=None, conversation_id="C" * 22)),
        grpc.StatusCode.NOT_FOUND,
        "NOT_FOUND",
    ),
    "nothing to send": (
        lambda c: c.messaging.SendMessage(messaging.SendMessageRequest(), metadata=c.metadata),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
    "no conversation to list": (listing(), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    "a negative page": (
        listing(conversation=NOTE, page_size=-1),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
    "no page token": (
        listing(conversation=NOTE, page_token="x"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
    "no direction": (
        listing(conversation=NOTE, direction=99),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
    "no cursor": (
        lambda c: c.history.ListEvents(history.ListEventsRequest(after_cursor="x"), metadata=c.metadata),
        grpc.StatusCode.INVALID_ARGUMENT,
        "CURSOR_INVALID",
    ),
    "no names": (
        lambda c: c.history.GetMessages(history.GetMessagesRequest(), metadata=c.metadata),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
    ),
    "too many names": (
        lambda c: c.history.GetMessages(
            history.GetMessagesRequest(messages=[ref()] * 101), metadata=c.metadata
        ),
        grpc.StatusCode.INVALID_ARGUMENT,
        "",
    ),
}


@pytest.mark.parametrize(("call", "code", "reason"), FAULTY_CALLS.values(), ids=FAULTY_CALLS.keys())
async def test_a_unary_refusal_is_a_status_with_its_reason(
    connect: Connect, call: Call, code: grpc.StatusCode, reason: str
) -> None:
    """A refused unary call has the status of the table and ErrorInfo with the same reason as on a stream."""
    async with connect("unary") as ann:
        await ann.send("a note, so that there is a conversation", ["unary"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(ann)
        assert caught.value.code() == code
        info = error_info(caught.value)
        assert info.domain == "messaging.cell"
        assert info.reason == reason or not reason
        assert info.reason in {
            name.removeprefix("REJECTED_REASON_")
            for name in messaging.RejectedReason.DESCRIPTOR.values_by_name
        }


@pytest.mark.parametrize("raw", [b"\xff\xff", b"\x0a\x02\xff"])
async def test_garbage_on_a_unary_call_is_invalid(cell: CellProcess, connect: Connect, raw: bytes) -> None:
    """A request that does not parse is INVALID_ARGUMENT, and says nothing of what is inside."""
    async with connect("garbage") as ann:
        for method in ("messaging.v1.MessagingService/Execute", "messaging.v1.MessagingService/SendMessage"):
            call: Any = ann.channel.unary_unary(f"/cell.{method}")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(raw, metadata=ann.metadata)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        for method in ("ListMessages", "GetMessages", "ListConversations", "GetConversation", "ListEvents"):
            call = ann.channel.unary_unary(f"/cell.history.v1.HistoryService/{method}")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(raw, metadata=ann.metadata)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, method
            assert "protobuf" not in (caught.value.details() or "")


async def test_execute_has_bounds(connect: Connect) -> None:
    """Execute takes 1 to 64 commands, and each has its outcome, in their order."""
    async with connect("batch") as ann:
        for commands in ([], [PING] * 65):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ann.messaging.Execute(
                    messaging.ExecuteRequest(commands=commands), metadata=ann.metadata
                )
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        mixed = [
            text_message("1", ["peer5"]),
            PING,
            message(content=None),
            hello(),
            text_message("2", ["peer5"]),
        ]
        numbered = messaging.ConnectRequest.FromString(frame(*mixed)).commands
        answer = await ann.messaging.Execute(
            messaging.ExecuteRequest(commands=numbered), metadata=ann.metadata
        )
        kinds = [outcome.WhichOneof("outcome") for outcome in answer.outcomes]
        assert kinds == ["accepted", "pong", "rejected", "rejected", "accepted"]
        assert answer.outcomes[3].rejected.reason == UNSUPPORTED


async def test_a_token_that_runs_out_ends_the_stream(cell: CellProcess) -> None:
    """A stream is told that its token runs out, ends UNAUTHENTICATED when it has, and lives on if it was refreshed."""
    short = jwt.encode({"sub": "short", "exp": int(time.time()) + 6}, SECRET, algorithm="HS256")
    async with (
        PlainClient(cell.address, "short", lambda _: short, reconnects=False) as lazy,
        PlainClient(cell.address, "short", lambda _: short, reconnects=False) as diligent,
    ):
        await diligent.done(messaging.Command(refresh_token=messaging.RefreshToken(token=token("short"))))
        assert await lazy.until_ended() == grpc.StatusCode.UNAUTHENTICATED
        assert [go_away.reason for go_away in lazy.go_aways] == [messaging.GO_AWAY_REASON_TOKEN_EXPIRING]
        await diligent.done(messaging.Command(ping=messaging.Ping()))
        assert diligent.endings == []
