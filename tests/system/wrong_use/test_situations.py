"""What is right at a wrong time: too many, too fast, again, too late. Its answer; the stream goes on, the rest is done."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from types import SimpleNamespace

import grpc
import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import bearer
from check.history_pages import events_at_least
from check.ledger import message_ids
from check.plain_client import PlainClient
from check.plain_outbox import new_id, text_message
from messaging_core.cursor import Cursor
from tests.system.cell_process import CellProcess
from tests.system.conftest import Connect
from tests.system.raw_stream import Heard, frame, hello, say
from tests.system.wrong_use import situations
from tests.system.wrong_use.answers import Answer
from tests.system.wrong_use.commands import PEER
from tests.system.wrong_use.tokens import signed

pytestmark = pytest.mark.timeout(180)

MAX_IN_FLIGHT = 32
MAX_SENDS = 40
MAX_STREAMS = 3
SETTINGS = {
    "max_in_flight": MAX_IN_FLIGHT,
    "max_sends_per_second": MAX_SENDS,
    "max_streams_per_user": MAX_STREAMS,
    "jwt_leeway_s": 0,
}
LIMITS = messaging.Limits(max_in_flight=MAX_IN_FLIGHT, max_sends_per_second=MAX_SENDS)

PING = messaging.Command(ping=messaging.Ping())


async def told(cell: CellProcess, user_id: str, commands: Sequence[messaging.Command], way: str) -> Heard:
    """Say these commands in one go, on a stream or by a call; what is heard, but for events."""
    if way == "Connect":
        numbered = [hello(live_only=True), *commands]
        frames = [frame(*numbered[:1])]
        made = messaging.ConnectRequest.FromString(frame(*numbered)).commands[1:]
        frames += [
            messaging.ConnectRequest(commands=made[start : start + 64]).SerializeToString()
            for start in range(0, len(made), 64)
        ]
        return await say(cell.address, bearer(signed(user_id)), *frames)
    heard = Heard()
    async with PlainClient(cell.address, user_id, signed, transport="subscribe") as client:
        for start in range(0, len(commands), 64):
            request = messaging.ExecuteRequest.FromString(frame(*commands[start : start + 64]))
            response = await client.messaging.Execute(request, metadata=client.metadata)
            heard.updates += [
                messaging.Update.FromString(outcome.SerializeToString()) for outcome in response.outcomes
            ]
    heard.code = grpc.StatusCode.OK
    return heard


async def statuses(calls: Sequence[Awaitable[object]], answer: Answer) -> int:
    """How many of the calls were answered well; the others are refused by this answer."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            assert isinstance(result, grpc.aio.AioRpcError)
            answer.check_error(result, LIMITS)
    return sum(not isinstance(result, BaseException) for result in results)


@pytest.mark.parametrize("way", ["Connect", "Execute"])
async def test_command_ids_rise(cell: CellProcess, way: str) -> None:
    """A command id of 0, or one that does not rise, is rejected and echoed; the stream goes on."""
    ids = [(0, False), (7, True), (7, False), (3, False), (8, True)]
    pings = [messaging.Command(command_id=number, ping=messaging.Ping()) for number, _ in ids]
    if way == "Connect":
        opening = messaging.Command(command_id=1, hello=messaging.Hello())
        raw = messaging.ConnectRequest(commands=[opening, *pings]).SerializeToString()
        heard = await say(cell.address, bearer(signed("numbers")), raw)
        assert heard.code == grpc.StatusCode.OK
    else:
        heard = Heard()
        async with PlainClient(cell.address, "numbers", signed) as client:
            request = messaging.ExecuteRequest(commands=pings)
            response = await client.messaging.Execute(request, metadata=client.metadata)
        for outcome in response.outcomes:
            heard.updates.append(messaging.Update.FromString(outcome.SerializeToString()))
    assert [pong.command_id for pong in heard.of("pong")] == [7, 8]
    assert [rejected.command_id for rejected in heard.of("rejected")] == [0, 7, 3]
    for rejected in heard.of("rejected"):
        situations.COMMAND_ID.answer.check_rejected(rejected)


@pytest.mark.parametrize("way", ["Connect", "Execute"])
async def test_too_many_in_flight_are_refused_not_stalled(
    cell: CellProcess, connect: Connect, way: str
) -> None:
    """Beyond the limit commands are refused; a ping is answered; the others are done. A SendMessage is one at a time."""
    user_id = new_id()
    sends = [text_message(str(n), [PEER]) for n in range(MAX_IN_FLIGHT + 6)]
    heard = await told(cell, user_id, [*sends, PING], way)
    assert heard.code == grpc.StatusCode.OK
    assert len(heard.of("pong")) == 1
    assert len(heard.of("accepted")) + len(heard.of("rejected")) == len(sends)
    assert len(heard.of("accepted")) >= MAX_IN_FLIGHT
    assert heard.of("rejected")
    for rejected in heard.of("rejected"):
        situations.IN_FLIGHT.answer.check_rejected(rejected, LIMITS)
    await only_accepted(connect, user_id, sends, heard)


@pytest.mark.parametrize("way", ["Connect", "Execute", "SendMessage"])
async def test_too_many_a_second_are_refused(cell: CellProcess, connect: Connect, way: str) -> None:
    """Beyond rate and burst commands that append are refused; those before are done."""
    user_id = new_id()
    sends = [messaging.Command(mark_read=messaging.MarkRead()) for _ in range(3 * MAX_SENDS)]
    if way != "SendMessage":  # marks of nothing: they count, and are never in flight
        heard = await told(cell, user_id, sends, way)
        reasons = [rejected.reason for rejected in heard.of("rejected")]
        assert len(reasons) == len(sends)
        limited = [r for r in heard.of("rejected") if r.reason != messaging.REJECTED_REASON_INVALID_FIELD]
        assert 0 < len(limited) <= 2 * MAX_SENDS
        for rejected in limited:
            situations.RATE.answer.check_rejected(rejected, LIMITS)
        return
    async with connect(user_id) as client:
        requests = [
            messaging.SendMessageRequest(send_message=text_message(str(n), [PEER]).send_message)
            for n in range(6 * MAX_SENDS)
        ]
        calls = [client.messaging.SendMessage(request, metadata=client.metadata) for request in requests]
        done = await statuses(calls, situations.RATE.answer)
        assert MAX_SENDS <= done < len(requests)
        await client.until_events(done)
        assert len(await events_at_least(client, done)) == done


async def test_who_keeps_to_the_hints_gets_all_through(connect: Connect) -> None:
    """Sends far beyond the rate, tried again when the refusal says, are all done, once."""
    async with connect("hasty") as ann:
        submissions = [ann.submit(text_message(str(n), [PEER])) for n in range(4 * MAX_SENDS)]
        await ann.settle(*submissions)
        assert all(submission.accepted for submission in submissions)
        refusals = [r for submission in submissions for r in submission.rejections]
        for rejected in refusals:
            situations.RATE.answer.check_rejected(rejected, LIMITS)
        assert refusals
        await ann.until_events(len(submissions))
        assert sorted(message_ids(ann.ledger.events)) == sorted(s.id for s in submissions)


@pytest.mark.parametrize("way", ["Connect", "Execute"])
@pytest.mark.parametrize("kind", ["ping", "acknowledge", "refresh_token"])
async def test_too_many_others_a_second_are_refused(cell: CellProcess, kind: str, way: str) -> None:
    """Commands that append nothing are bounded too, apart from the others: a message among them is done."""
    user_id = new_id()
    made = {
        "ping": PING,
        "acknowledge": messaging.Command(acknowledge=messaging.Acknowledge(cursor="x")),
        "refresh_token": messaging.Command(refresh_token=messaging.RefreshToken(token=signed(user_id))),
    }
    heard = await told(cell, user_id, [made[kind]] * (3 * MAX_SENDS) + [text_message("done", [PEER])], way)
    assert heard.code == grpc.StatusCode.OK
    limited = [r for r in heard.of("rejected") if r.reason == messaging.REJECTED_REASON_RATE_LIMITED]
    assert 0 < len(limited) <= 2 * MAX_SENDS
    for rejected in limited:
        situations.OTHER_RATE.answer.check_rejected(rejected, LIMITS)
    assert [a.command_id for a in heard.of("accepted")][-1] == (
        3 * MAX_SENDS + 2 if way == "Connect" else 3 * MAX_SENDS % 64 + 1
    )


@pytest.mark.parametrize("way", ["Connect", "Execute", "SendMessage"])
async def test_an_id_stands_for_one_payload(connect: Connect, way: str) -> None:
    """Again with the same payload it is accepted and told once; with another it is refused, and the first stands."""
    user_id, one = new_id(), "one-id"
    async with connect(user_id) as client, connect(new_id()) as other:
        first = await client.send("first", [other.user_id], one)
        again, wrong = (text_message(text, [other.user_id], one) for text in ("first", "second"))
        answer = situations.ANOTHER_PAYLOAD.answer
        if way == "SendMessage":
            done = await client.messaging.SendMessage(
                messaging.SendMessageRequest(send_message=again.send_message), metadata=client.metadata
            )
            assert done.message.message_id == one
            request = messaging.SendMessageRequest(send_message=wrong.send_message)
            assert (
                await statuses([client.messaging.SendMessage(request, metadata=client.metadata)], answer) == 0
            )
        else:
            transport = "connect" if way == "Connect" else "subscribe"
            async with connect(user_id, transport=transport) as speaker:
                await speaker.done(again)
                rejected = (await speaker.do(wrong)).rejected
                assert rejected is not None
                answer.check_rejected(rejected)
                assert rejected.message_id == one
        fence = await client.send("fence", [other.user_id])
        for reader in (client, other):
            await reader.message(user_id, fence.ref.message_id)
            assert [event.message.content.text for event in reader.ledger.events] == ["first", "fence"]
        assert await other.message(user_id, one) == first
        assert len(await events_at_least(client, 2)) == 2


@pytest.mark.parametrize("transport", ["connect", "subscribe"])
async def test_a_user_has_so_many_streams(cell: CellProcess, connect: Connect, transport: str) -> None:
    """One stream more is refused, the others stay; when one is gone there is room."""
    user_id = new_id()
    async with connect(user_id) as one, connect(user_id, transport=transport) as two:
        async with connect(user_id, transport=transport) as three:
            heard = await say(cell.address, one.metadata, frame(hello()), done=False)
            settings = SimpleNamespace(max_streams_per_user=MAX_STREAMS)
            situations.STREAMS.answer.check_end(heard.code, heard.details, heard.trailing, settings)
            for client in (one, two, three):
                await client.done(messaging.Command(ping=messaging.Ping()))
        async with connect(user_id) as again:
            await again.done(messaging.Command(ping=messaging.Ping()))


async def test_a_token_that_runs_out_ends_the_stream(cell: CellProcess) -> None:
    """A stream is told that its token runs out, ends when it has, and lives on if it was refreshed."""
    short = signed("short", exp=int(time.time()) + 4)
    async with PlainClient(cell.address, "short", lambda _: short, reconnects=False) as diligent:
        await diligent.done(messaging.Command(refresh_token=messaging.RefreshToken(token=signed("short"))))
        heard = await say(cell.address, bearer(short), frame(hello(live_only=True)), done=False)
        situations.TOKEN_RUN_OUT.answer.check_end(heard.code, heard.details, heard.trailing)
        assert [away.reason for away in heard.of("go_away")] == [messaging.GO_AWAY_REASON_TOKEN_EXPIRING]
        await diligent.done(messaging.Command(ping=messaging.Ping()))
        assert diligent.endings == []


async def test_a_frame_that_the_transport_does_not_take_ends_the_stream(cell: CellProcess) -> None:
    """Far above the limit it is gRPC itself that ends the stream; the next one works."""
    huge = frame(text_message("x" * 3_000_000, [PEER]))
    heard = await say(cell.address, bearer(signed("huge")), frame(hello()), huge, done=False)
    assert heard.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    heard = await say(cell.address, bearer(signed("huge")), frame(hello()))
    assert heard.code == grpc.StatusCode.OK


async def test_a_cursor_of_another_log_is_no_error(connect: Connect) -> None:
    """The stream starts from now and says RESET, so that the client reloads; nothing is guessed."""
    async with connect("reset", resume_after=Cursor(b"anotherl", 3, 17, 0).encode()) as ann:
        assert (await ann.until_resumed()).outcome == messaging.RESUME_OUTCOME_RESET
        message = await ann.send("goes on", [PEER])
        assert message_ids(ann.ledger.events) == [message.ref.message_id]


async def only_accepted(
    connect: Connect, user_id: str, sends: Sequence[messaging.Command], heard: Heard
) -> None:
    """The user's events and history are the messages that were accepted, and no others."""
    refused = {rejected.message_id for rejected in heard.of("rejected")}
    wanted = sorted({send.send_message.message_id for send in sends} - refused)
    async with connect(user_id) as client:
        await client.until_resumed()
        assert sorted(message_ids(client.ledger.events)) == wanted
        assert sorted(message_ids(await events_at_least(client, len(wanted)))) == wanted
