"""Connect, Subscribe, Execute and SendMessage over real gRPC, by a client made from the protos alone."""

import asyncio
import gc
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.port import Fate
from messaging_core.cursor import Cursor, decode_cursor, incarnation_bytes
from messaging_core.ids import conversation_id
from messaging_core.limits import ACCEPT_DEADLINE_S, Limits
from messaging_server.settings import ServerSettings
from messaging_server.streams import Stream
from tests.messaging_server.memory_cell import Cell, Client, running_cell, text_message

S = messaging.Command
CODE = grpc.StatusCode


def cursor(cell: Cell, user_id: str, offset: int, incarnation: str = "log-1") -> str:
    return Cursor(incarnation_bytes(incarnation), cell.log.partition_of(user_id), offset, 1).encode()


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info


async def raw_stream(cell: Cell, channel: grpc.aio.Channel, token: str = "alice") -> Any:
    return channel.stream_stream("/cell.messaging.v1.MessagingService/Connect")(
        metadata=(("authorization", f"Bearer {token}"),)
    )


async def status_of(call: Any) -> grpc.StatusCode:
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error.code()
    return await call.code()  # type: ignore[no-any-return]


async def test_a_message_reaches_every_stream_of_both_users() -> None:
    """A message is accepted and shown once to each client of sender and recipient, with the same cursor per user."""
    async with running_cell() as cell, cell.channel() as channel:
        alice, phone, laptop = Client(channel, "alice"), Client(channel, "bob"), Client(channel, "bob")
        await asyncio.gather(alice.connect(), phone.connect(), laptop.connect())
        outcome = await alice.message("bob", "hello", "m1")
        assert outcome.WhichOneof("update") == "accepted"
        assert (await alice.event()).message.content.text == "hello"
        first, second = await phone.event(), await laptop.event()
        assert first == second
        assert first.message.ref.message_id == "m1"


async def test_welcome_tells_who_where_and_what_is_allowed() -> None:
    """Welcome comes at once, before any owner is there, and sends work then."""
    async with running_cell(owner=False) as cell, cell.channel() as channel:
        alice = Client(channel, "alice:4102444800")
        welcome = await alice.connect(wait=False)
        assert (welcome.user_id, welcome.server_id, welcome.cell_id) == ("alice", "server-1", "cell")
        assert welcome.limits.max_commands_per_frame == 64
        assert welcome.limits.retry_window.seconds == 30
        assert welcome.limits.max_frame_bytes == 1_048_576
        assert welcome.token_expire_time.seconds == 4102444800
        assert bytes.fromhex(welcome.log_incarnation) == incarnation_bytes(cell.log.incarnation)
        assert (await alice.message("bob", "hello", "m1")).WhichOneof("update") == "accepted"


async def test_a_client_that_returns_gets_what_it_missed() -> None:
    """Events missed come before `resumed`, from the window or from history, and live ones after, once each, in order."""
    async with running_cell() as cell, cell.channel() as channel:
        alice, bob = Client(channel, "alice"), Client(channel, "bob")
        await alice.connect()
        await bob.connect()
        await alice.message("bob", "0", "m0")
        seen = (await bob.event()).cursor
        bob.call.cancel()
        for n in range(1, 30):
            await alice.message("bob", str(n), f"m{n}")
        again = Client(channel, "bob")
        for window_start in (0, 1_000_000):
            cell.owner.window_start = window_start
            again.updates.clear()
            await again.connect(messaging.Hello(resume_after=seen), wait=False)
            resumed = (await again.until("resumed")).resumed
            assert resumed.outcome == messaging.RESUME_OUTCOME_RESUMED
            texts = [u.event.message.content.text for u in again.updates if u.HasField("event")]
            assert texts == [str(n) for n in range(1, 30)]
        assert cell.store.pages > 0
        await alice.message("bob", "live", "m-live")
        assert [(await again.event()).message.content.text for _ in range(30)][-1] == "live"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param([S(command_id=1, ping=messaging.Ping())], CODE.FAILED_PRECONDITION, id="no hello"),
        pytest.param(
            [S(command_id=1, hello=messaging.Hello())] * 2, CODE.FAILED_PRECONDITION, id="hello twice"
        ),
        pytest.param([None], CODE.FAILED_PRECONDITION, id="half closed without hello"),
        pytest.param([b"\xff\xff"], CODE.INVALID_ARGUMENT, id="does not parse"),
        pytest.param([b""], CODE.INVALID_ARGUMENT, id="empty frame"),
        pytest.param([S(hello=messaging.Hello())], CODE.INVALID_ARGUMENT, id="hello without command id"),
        pytest.param(
            [S(command_id=1, hello=messaging.Hello(resume_after="x"))], CODE.INVALID_ARGUMENT, id="no cursor"
        ),
        pytest.param(
            [S(command_id=1, hello=messaging.Hello(client_id="x" * 65))],
            CODE.INVALID_ARGUMENT,
            id="client id",
        ),
        pytest.param(
            [S(command_id=1, hello=messaging.Hello()), messaging.ConnectRequest(commands=[S()] * 65)],
            CODE.INVALID_ARGUMENT,
            id="too many commands",
        ),
        pytest.param([S(command_id=1, hello=messaging.Hello()), None], CODE.OK, id="half closed"),
    ],
)
async def test_faults_of_frames_end_the_stream(frames: list[Any], code: grpc.StatusCode) -> None:
    """A stream that breaks the form of the conversation ends with the status that the contract names."""
    async with running_cell() as cell, cell.channel() as channel:
        call = await raw_stream(cell, channel)
        for frame in frames:
            if frame is None:
                await call.done_writing()
            elif isinstance(frame, bytes):
                await call.write(frame)
            elif isinstance(frame, messaging.Command):
                await call.write(messaging.ConnectRequest(commands=[frame]).SerializeToString())
            else:
                await call.write(frame.SerializeToString())
        assert await status_of(call) == code


async def test_late_hello_ends_the_stream() -> None:
    """Without hello within the limit the stream ends with DEADLINE_EXCEEDED."""
    limits = Limits(hello_timeout_s=0.3)
    async with running_cell(limits=limits) as cell, cell.channel() as channel:
        assert await status_of(await raw_stream(cell, channel)) == CODE.DEADLINE_EXCEEDED
        assert cell.server.stream_count == 0


async def test_cursors_that_are_not_the_users_are_refused() -> None:
    """A cursor past the end is OUT_OF_RANGE, one of another partition CURSOR_INVALID, one of another log RESET."""
    async with running_cell() as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        alice.call = alice.stub.Connect(metadata=alice.metadata)
        await alice.send(S(hello=messaging.Hello(resume_after=cursor(cell, "alice", 0))))
        assert (await alice.ended()).code() == CODE.OUT_OF_RANGE

        other = next(
            name for name in "bcdefgh" if cell.log.partition_of(name) != cell.log.partition_of("alice")
        )
        await alice_again(alice, cursor(cell, other, -1))
        error = await alice.ended()
        assert error.code() == CODE.INVALID_ARGUMENT
        assert (error_info(error).reason, error_info(error).metadata["field"]) == (
            "CURSOR_INVALID",
            "hello.resume_after",
        )

        await alice_again(alice, cursor(cell, "alice", 5, incarnation="another"))
        assert (await alice.until("resumed")).resumed.outcome == messaging.RESUME_OUTCOME_RESET


async def alice_again(client: Client, resume_after: str) -> None:
    client.call = client.stub.Connect(metadata=client.metadata)
    await client.send(S(hello=messaging.Hello(resume_after=resume_after)))


@pytest.mark.parametrize("token", ["", "bad", "x" * 256])
async def test_a_bad_token_ends_the_stream(token: str) -> None:
    """No token or a bad one is UNAUTHENTICATED on every call, with TOKEN_INVALID as its reason."""
    async with running_cell() as cell, cell.channel() as channel:
        client = Client(channel, token)
        client.call = client.stub.Connect(metadata=client.metadata if token else ())
        error = await client.ended()
        assert error.code() == CODE.UNAUTHENTICATED
        assert error_info(error).reason == "TOKEN_INVALID"
        with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
            await client.stub.SendMessage(messaging.SendMessageRequest(), metadata=client.metadata)


async def test_a_token_that_cannot_be_checked_yet_is_put_off() -> None:
    """UNAVAILABLE with a time to try again, on every call and for `refresh_token`, whose stream goes on."""
    async with running_cell() as cell, cell.channel() as channel:
        client = Client(channel, "later")
        client.call = client.stub.Connect(metadata=client.metadata)
        error = await client.ended()
        assert error.code() == CODE.UNAVAILABLE
        assert error_info(error).reason == "UNAVAILABLE"
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await client.stub.SendMessage(messaging.SendMessageRequest(), metadata=client.metadata)
        alice = Client(channel, "alice")
        await alice.connect()
        (refresh,) = await alice.send(S(refresh_token=messaging.RefreshToken(token="later")))
        rejected = (await alice.outcome(refresh)).rejected
        assert rejected.reason == messaging.REJECTED_REASON_UNAVAILABLE
        assert rejected.outcome == messaging.REJECTED_OUTCOME_NOT_DONE
        assert rejected.HasField("retry_after")
        (ping,) = await alice.send(S(ping=messaging.Ping()))
        assert (await alice.outcome(ping)).HasField("pong")


async def test_a_stream_ends_with_its_token_unless_it_is_refreshed() -> None:
    """GoAway TOKEN_EXPIRING comes ahead of it; a refreshed stream goes on, the other ends UNAUTHENTICATED at expiry."""
    async with running_cell(expiry_notice_s=1.5) as cell, cell.channel() as channel:
        expires = time.time() + 2
        refreshed, left = Client(channel, f"alice:{expires}"), Client(channel, f"alice:{expires}")
        await refreshed.connect()
        await left.connect()
        for client in (refreshed, left):
            go_away = (await client.until("go_away")).go_away
            assert go_away.reason == messaging.GO_AWAY_REASON_TOKEN_EXPIRING
        (wrong,) = await refreshed.send(S(refresh_token=messaging.RefreshToken(token="bob")))
        assert (await refreshed.outcome(wrong)).rejected.reason == messaging.REJECTED_REASON_TOKEN_INVALID
        later = time.time() + 100
        (right,) = await refreshed.send(S(refresh_token=messaging.RefreshToken(token=f"alice:{later}")))
        assert (await refreshed.outcome(right)).HasField("accepted")
        error = await left.ended()
        assert error.code() == CODE.UNAUTHENTICATED
        assert time.time() >= expires - 0.01
        (ping,) = await refreshed.send(S(ping=messaging.Ping()))
        assert (await refreshed.outcome(ping)).HasField("pong")


async def test_faults_of_commands_leave_the_stream_alone() -> None:
    """A refused command names field and limit, and the next one is taken."""
    async with running_cell() as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        await alice.connect()
        ack = "acknowledge.cursor"
        for command, reason, field in (
            (S(), messaging.REJECTED_REASON_UNSUPPORTED, ""),
            (S(command_id=1, ping=messaging.Ping()), messaging.REJECTED_REASON_INVALID_FIELD, "command_id"),
            (text_message("bob", "", "m"), messaging.REJECTED_REASON_INVALID_FIELD, "content.text"),
            (text_message("bob", "x" * 65_536, "m"), messaging.REJECTED_REASON_TOO_LARGE, "content"),
            (
                S(acknowledge=messaging.Acknowledge(cursor="x")),
                messaging.REJECTED_REASON_CURSOR_INVALID,
                ack,
            ),
            (
                S(acknowledge=messaging.Acknowledge(cursor=cursor(cell, "alice", 10**6))),
                messaging.REJECTED_REASON_CURSOR_INVALID,
                ack,
            ),
        ):
            await alice.send(command)
            rejected = (await alice.until("rejected")).rejected
            assert (rejected.command_id, rejected.reason, rejected.field) == (
                command.command_id,
                reason,
                field,
            )
            assert rejected.outcome == messaging.REJECTED_OUTCOME_NOT_DONE
        assert (await alice.message("bob", "still here", "m")).HasField("accepted")


async def test_beyond_the_limit_in_flight_commands_are_rejected_not_stalled() -> None:
    """Commands in flight beyond the limit are TOO_MANY_IN_FLIGHT, pings still answered, and the others accepted later."""
    async with running_cell(limits=Limits(max_in_flight=3)) as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        await alice.connect()
        await alice.message("bob", "x", "first")
        cell.log.held = True
        sent = await alice.send(*(text_message("bob", str(n), f"m{n}") for n in range(5)))
        for command_id in sent[3:]:
            rejected = (await alice.outcome(command_id)).rejected
            assert rejected.reason == messaging.REJECTED_REASON_TOO_MANY_IN_FLIGHT
            assert (rejected.limit, rejected.HasField("retry_after")) == (3, True)
        (ping,) = await alice.send(S(ping=messaging.Ping()))
        assert (await alice.outcome(ping)).HasField("pong")
        cell.log.let_go()
        for command_id in sent[:3]:
            assert (await alice.outcome(command_id)).HasField("accepted")


async def test_a_slow_reader_overflows_and_recovers_without_loss() -> None:
    """A stream whose buffer is full is detached, drained and attached again; its client gets everything once, in order."""
    async with (
        running_cell(event_buffer_bytes=200_000, frame_bytes=100_000) as cell,
        cell.channel() as channel,
    ):
        alice, slow, quick = Client(channel, "alice"), Client(channel, "bob"), Client(channel, "bob")
        await alice.connect()
        await slow.connect()
        await quick.connect()
        count, text = 300, "x" * 60_000
        attaches = len(cell.owner.attaches)
        for n in range(count):
            await alice.message("bob", text, f"m{n}")
            await quick.event()
        got = [(await slow.event()).message.ref.message_id for _ in range(count)]
        assert got == [f"m{n}" for n in range(count)]
        assert len(cell.owner.attaches) > attaches
        await alice.message("bob", "after", "after")
        assert (await slow.event()).message.ref.message_id == "after"


async def test_a_client_that_takes_nothing_ends() -> None:
    """A stream that has something to take and takes nothing for the limit ends with RESOURCE_EXHAUSTED."""
    settings = ServerSettings(server_id="s", slow_consumer_s=1.0, event_buffer_bytes=100_000)
    async with running_cell(settings) as cell, cell.channel() as channel:
        alice, stuck = Client(channel, "alice"), Client(channel, "bob")
        await alice.connect()
        await stuck.connect()
        for n in range(300):
            await alice.message("bob", "x" * 60_000, f"m{n}")
        async with asyncio.timeout(20):
            while cell.server.streams_of("bob")[0].ending is None:
                await asyncio.sleep(0.1)
        assert (await stuck.ended()).code() == CODE.RESOURCE_EXHAUSTED


async def test_a_client_that_sends_and_takes_nothing_ends() -> None:
    """Also one whose commands are not read any more because it leaves its outcomes lying (R12).

    gRPC holds the call until its client reads on or goes; the server holds nothing for it, and a drain does not wait.
    """
    settings = ServerSettings(
        server_id="s", limits=Limits(max_sends_per_second=10**6), slow_consumer_s=1.0, outcome_buffer_bytes=1
    )
    small_window = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384))
    async with (
        running_cell(settings, drain_s=0.1, drain_grace_s=0.1) as cell,
        grpc.aio.insecure_channel(cell.address, options=small_window) as channel,
    ):
        stuck = Client(channel, "bob")
        await stuck.connect()

        (stream,) = cell.server.streams_of("bob")
        assert isinstance(stream, Stream)
        async with asyncio.timeout(40):
            while stream.ending is None:
                if stream.room is None:
                    await stuck.send(*[S(ping=messaging.Ping()) for _ in range(64)])
                await asyncio.sleep(0 if stream.room is None else 0.01)
        assert not stream.outbound
        async with asyncio.timeout(ACCEPT_DEADLINE_S - 1):
            await cell.server.drain()
        assert cell.server.stream_count == 1, "its client has read nothing yet"
        assert (await stuck.ended()).code() == CODE.RESOURCE_EXHAUSTED
        async with asyncio.timeout(20):
            while cell.server.stream_count:
                await asyncio.sleep(0.1)


async def test_gone_streams_let_go_of_their_calls() -> None:
    """A call is freed when it ends, although the timer knows its stream until its next checkpoint would have been due."""

    def calls() -> int:
        gc.collect()
        return sum(type(held).__name__ == "_ServicerContext" for held in gc.get_objects())

    async with running_cell() as cell, cell.channel() as channel:
        before = calls()
        clients = [Client(channel, f"user{n}") for n in range(20)]
        for client in clients:
            await client.connect()
        assert calls() >= before + 20
        for client in clients:
            client.call.cancel()
        async with asyncio.timeout(20):
            while cell.server.stream_count or calls() > before:
                await asyncio.sleep(0.1)


async def test_execute_gives_one_outcome_for_each_command_in_order() -> None:
    """Each command of an Execute call has its outcome at its place; those of a stream are UNSUPPORTED."""
    async with running_cell() as cell, cell.channel() as channel:
        client = Client(channel, "alice")
        commands = [
            text_message("bob", "one", "m1"),
            S(ping=messaging.Ping()),
            S(hello=messaging.Hello()),
            text_message("bob", "", "m2"),
            S(
                send_message=messaging.SendMessage(
                    message_id="m3", conversation_id=conversation_id(["x", "y"])
                )
            ),
        ]
        for number, command in enumerate(commands):
            command.command_id = number + 1
        commands[-1].send_message.content.text = "not mine"
        response = await client.stub.Execute(
            messaging.ExecuteRequest(commands=commands), metadata=client.metadata
        )
        accepted, pong, hello, empty, not_mine = response.outcomes
        assert accepted.accepted.command_id == 1
        assert pong.pong.command_id == 2
        assert hello.rejected.reason == messaging.REJECTED_REASON_UNSUPPORTED
        assert empty.rejected.message_id == "m2"
        assert not_mine.rejected.reason == messaging.REJECTED_REASON_NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await client.stub.Execute(messaging.ExecuteRequest(), metadata=client.metadata)


async def test_execute_waits_for_all_after_an_early_refusal() -> None:
    """A command that is refused while others are yet to be taken does not end the wait for their outcomes."""
    async with running_cell() as cell, cell.channel() as channel:
        client = Client(channel, "alice")
        await client.connect()
        await client.message("bob", "first", "m1")
        commands = [text_message("bob", "another", "m1"), text_message("bob", "two", "m2")]
        for number, command in enumerate(commands):
            command.command_id = number + 1
        request = messaging.ExecuteRequest(commands=commands)
        response = await client.stub.Execute(request, metadata=client.metadata)
        conflict, accepted = response.outcomes
        assert conflict.rejected.reason == messaging.REJECTED_REASON_MESSAGE_ID_CONFLICT
        assert accepted.accepted.command_id == 2


async def test_subscribe_gets_the_same_updates() -> None:
    """A subscribed client gets welcome, what it missed, resumed and live events."""
    async with running_cell() as cell, cell.channel() as channel:
        client, alice = Client(channel, "bob"), Client(channel, "alice")
        await alice.connect()
        await alice.message("bob", "missed", "m1")
        request = messaging.SubscribeRequest(hello=messaging.Hello(resume_after=""))
        request.hello.resume_after = ""
        client.call = client.stub.Subscribe(request, metadata=client.metadata)
        assert (await client.until("welcome")).welcome.user_id == "bob"
        await client.until("resumed")
        assert (await client.event()).message.content.text == "missed"
        await alice.message("bob", "live", "m2")
        assert (await client.event()).message.content.text == "live"
        client.call.cancel()
        bad = client.stub.Subscribe(messaging.SubscribeRequest(), metadata=client.metadata)
        with pytest.raises(grpc.aio.AioRpcError, match="FAILED_PRECONDITION"):
            await bad.read()
        async with asyncio.timeout(10):
            while cell.server.stream_count > 1:
                await asyncio.sleep(0.05)


async def test_send_message_answers_with_the_message_or_a_typed_error() -> None:
    """SendMessage gives the message's name; a refusal is a status with ErrorInfo of reason, field, limit and outcome."""
    async with running_cell() as cell, cell.channel() as channel:
        alice, bob = Client(channel, "alice"), Client(channel, "bob")
        await bob.connect()
        send = text_message("bob", "hi", "m1").send_message
        sent = await alice.stub.SendMessage(
            messaging.SendMessageRequest(send_message=send), metadata=alice.metadata
        )
        assert (await bob.event()).message.ref == sent.message
        send.content.text = "other"
        with pytest.raises(grpc.aio.AioRpcError) as conflict:
            await alice.stub.SendMessage(
                messaging.SendMessageRequest(send_message=send), metadata=alice.metadata
            )
        assert conflict.value.code() == CODE.ALREADY_EXISTS
        assert error_info(conflict.value).reason == "MESSAGE_ID_CONFLICT"
        send.recipients.user_ids.append("b o b")
        with pytest.raises(grpc.aio.AioRpcError) as invalid:
            await alice.stub.SendMessage(
                messaging.SendMessageRequest(send_message=send), metadata=alice.metadata
            )
        info = error_info(invalid.value)
        assert (info.reason, info.metadata["field"], info.metadata["limit"], info.metadata["outcome"]) == (
            "INVALID_FIELD",
            "recipients.user_ids[1]",
            "255",
            "NOT_DONE",
        )
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await alice.stub.SendMessage(messaging.SendMessageRequest(), metadata=alice.metadata)


async def test_a_call_to_a_server_that_leaves_was_certainly_not_done() -> None:
    """It is refused as UNAVAILABLE with a hint, and says NOT_DONE, which a broken connection cannot (R4)."""
    async with running_cell(drain_s=0.1, drain_grace_s=0.1) as cell, cell.channel() as channel:
        await cell.server.drain()
        alice = Client(channel, "alice")
        send = text_message("bob", "hi", "m1").send_message
        with pytest.raises(grpc.aio.AioRpcError) as leaving:
            await alice.stub.SendMessage(
                messaging.SendMessageRequest(send_message=send), metadata=alice.metadata
            )
        assert leaving.value.code() == CODE.UNAVAILABLE
        info = error_info(leaving.value)
        assert (info.reason, info.metadata["outcome"]) == ("UNAVAILABLE", "NOT_DONE")


async def test_what_the_log_says_decides_the_outcome() -> None:
    """Not appended is NOT_DONE, not known is UNKNOWN (R4), and a full log is NOT_DONE; each says when to try again."""
    async with running_cell() as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        await alice.connect()
        await alice.message("bob", "x", "m0")
        for fate, outcome in (
            (Fate.NOT_APPENDED, messaging.REJECTED_OUTCOME_NOT_DONE),
            (Fate.UNKNOWN, messaging.REJECTED_OUTCOME_UNKNOWN),
        ):
            cell.log.fate = lambda record, fate=fate: fate  # type: ignore[misc]
            rejected = (await alice.message("bob", "x", f"m{outcome}")).rejected
            assert (rejected.reason, rejected.outcome) == (messaging.REJECTED_REASON_UNAVAILABLE, outcome)
            assert rejected.HasField("retry_after")
        cell.log.full = True
        rejected = (await alice.message("bob", "x", "m3")).rejected
        assert rejected.outcome == messaging.REJECTED_OUTCOME_NOT_DONE


async def test_acknowledging_tells_the_sender_once_a_second() -> None:
    """An acknowledged direct message becomes one received mark for its sender; repeats within a second are one more."""
    async with running_cell() as cell, cell.channel() as channel:
        alice, bob = Client(channel, "alice"), Client(channel, "bob")
        await alice.connect()
        await bob.connect()
        (nothing,) = await bob.send(S(acknowledge=messaging.Acknowledge(cursor=cursor(cell, "bob", -1))))
        assert (await bob.outcome(nothing)).HasField("accepted")
        for n in range(5):
            await alice.message("bob", str(n), f"m{n}")
            while not (event := await bob.event()).HasField("message"):
                pass
            await bob.send(S(acknowledge=messaging.Acknowledge(cursor=event.cursor)))
        for _ in range(5):
            assert (await bob.until("accepted", "rejected")).HasField("accepted")
        marks: list[messaging.ReceivedMark] = []
        while not marks or marks[-1].through.message_id != "m4":
            event = await alice.event()
            if event.HasField("received_mark"):
                marks.append(event.received_mark)
        assert {mark.user_id for mark in marks} == {"bob"}
        assert 1 <= len(marks) <= 3


async def test_marks_and_reactions_go_to_the_participants() -> None:
    """React, MarkRead and MarkReceived reach the others; a conversation of others is NOT_FOUND, existing or not."""
    async with running_cell() as cell, cell.channel() as channel:
        alice, bob, eve = (Client(channel, name) for name in ("alice", "bob", "eve"))
        for client in (alice, bob, eve):
            await client.connect()
        await alice.message("bob", "hello", "m1")
        ref = (await bob.event()).message.ref
        (await alice.event())
        for command in (
            S(react=messaging.React(reaction_id="r1", message=ref, key="👍")),
            S(mark_received=messaging.MarkReceived(through=ref)),
            S(mark_read=messaging.MarkRead(through=ref)),
        ):
            (command_id,) = await bob.send(command)
            assert (await bob.outcome(command_id)).HasField("accepted")
        kinds = [(await alice.event()).WhichOneof("event") for _ in range(3)]
        assert kinds == ["reaction_changed", "received_mark", "read_mark"]
        unknown = messaging.MessageRef()
        unknown.CopyFrom(ref)
        unknown.conversation_id = conversation_id(["x", "y"])
        refusals = []
        for message in (ref, unknown):
            (command_id,) = await eve.send(
                S(react=messaging.React(reaction_id="r", message=message, key="x"))
            )
            rejected = (await eve.outcome(command_id)).rejected
            rejected.command_id = 0
            refusals.append(rejected)
        assert refusals[0] == refusals[1]
        assert refusals[0].reason == messaging.REJECTED_REASON_NOT_FOUND


async def test_history_away_refuses_only_what_needs_it() -> None:
    """A command whose conversation cannot be looked up is UNAVAILABLE, not done; known ones go on, in order."""
    async with running_cell(hold_s=0.5) as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        await alice.connect()
        await alice.message("bob", "x", "m0")
        cell.store.away = True
        sent = await alice.send(text_message("carol", "x", "m1"), text_message("bob", "x", "m2"))
        rejected = (await alice.outcome(sent[0])).rejected
        assert (rejected.reason, rejected.outcome) == (
            messaging.REJECTED_REASON_UNAVAILABLE,
            messaging.REJECTED_OUTCOME_NOT_DONE,
        )
        assert (await alice.outcome(sent[1])).HasField("accepted")
        cell.store.away = False
        cell.store.gate = asyncio.Event()
        sent = await alice.send(text_message("carol", "x", "m3"), text_message("bob", "x", "m4"))
        assert (await alice.outcome(sent[0])).rejected.reason == messaging.REJECTED_REASON_UNAVAILABLE
        await alice.outcome(sent[1])


async def test_an_idle_stream_gets_checkpoints() -> None:
    """A live stream whose position rose without events of its own is told so now and then (R10)."""
    async with running_cell(checkpoint_s=0.5, partition_count=1) as cell, cell.channel() as channel:
        idle, alice = Client(channel, "idle"), Client(channel, "alice")
        await idle.connect()
        await alice.connect()
        await alice.message("bob", "x", "m0")
        checkpoint = (await idle.until("checkpoint")).checkpoint
        assert decode_cursor(checkpoint.cursor).offset == 0
