"""The client's shell against a scripted cell: what goes over the wire, and what an application sees."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import (
    CallFailed,
    Client,
    ClientFailed,
    ClientSettings,
    Conversation,
    Event,
    FileStore,
    Gap,
    NewMessage,
    NotDone,
    NotSent,
    OutcomeUnknown,
    Reason,
    Reset,
    Started,
    StoreFailed,
    StoreInUse,
    Unauthenticated,
    WrongUser,
    channels,
    clock,
    connection,
)
from messaging_client.kept import Change, Kept, Moved, OfUser
from tests.messaging_client.scripted_cell import Script, ScriptedCell, Talk, message_event, scripted_cell

QUICK = ClientSettings(backoff_s=0.05, max_backoff_s=0.2, leave_s=0.5)
LONG_S = 50.0
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def client_of(address: str, token: Any = "token", settings: ClientSettings = QUICK, **more: Any) -> Client:
    return Client(address, token, settings=settings, **more)


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def serve(talk: Talk) -> None:
    await talk.open()
    await talk.accept_all()


async def test_the_first_start_is_a_snapshot_and_then_the_stream() -> None:
    """Without a cursor ListConversations is loaded, and the stream starts at its cursor."""
    hellos: list[messaging.Hello] = []

    async def script(talk: Talk) -> None:
        hellos.append(await talk.open())
        await talk.tell(message_event("c1", "hello"))
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        started, told = await take(client.events(), 2)
        assert isinstance(started, Started)
        assert (started.cursor, started.complete) == ("snapshot-1", True)
        assert isinstance(told, NewMessage)
        assert (told.message.text, told.mine, told.cursor) == ("hello", False, "c1")
        assert client.user_id == "ann"
    assert [hello.resume_after for hello in hellos] == ["snapshot-1"]


async def test_a_send_returns_when_it_is_accepted() -> None:
    """The id is a UUIDv7 made once, and the command carries what was asked."""
    seen: list[messaging.Command] = []

    async def script(talk: Talk) -> None:
        await talk.open()
        seen.append(await talk.command())
        await talk.accept(seen[0])
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        message_id = await client.send("hi", to=["bob", "bob"])
        assert UUID7.fullmatch(message_id)
        send = seen[0].send_message
        assert send.message_id == message_id
        assert list(send.recipients.user_ids) == ["bob"]
        assert send.content.text == "hi"


async def test_a_lost_outcome_is_asked_for_again_with_the_same_id() -> None:
    """The stream breaks before the outcome: the next stream gets the same command, and the caller one answer."""
    ids: list[str] = []

    async def loses(talk: Talk) -> None:
        await talk.open()
        ids.append((await talk.command()).send_message.message_id)

    async def answers(talk: Talk) -> None:
        await talk.open()
        command = await talk.command()
        ids.append(command.send_message.message_id)
        await talk.accept(command)
        await talk.accept_all()

    async with scripted_cell(loses, loses, answers) as cell, client_of(cell.address) as client:
        assert await client.send("hi", to="bob", message_id="mine") == "mine"
    assert ids == ["mine"] * 3


async def test_a_refusal_for_good_is_raised_with_its_field_and_limit() -> None:
    """Rejected without retry_after is NotDone; what the cell said is on it."""

    async def script(talk: Talk) -> None:
        await talk.open()
        command = await talk.command()
        await talk.reject(command, messaging.REJECTED_REASON_TOO_LARGE, field="content", limit=7, detail="no")
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        with pytest.raises(NotDone) as caught:
            await client.send("hi", to="bob", message_id="one")
        error = caught.value
        assert (error.reason, error.field, error.limit, error.retry_after_s) == (
            Reason.TOO_LARGE,
            "content",
            7,
            None,
        )
        await client.send("the stream lives on", to="bob")


async def test_what_the_cell_asks_to_try_later_is_tried_later() -> None:
    """Rejected with retry_after is tried again with the same id, and nobody hears of it."""
    tries: list[str] = []

    async def script(talk: Talk) -> None:
        await talk.open()
        for _ in range(3):
            command = await talk.command()
            tries.append(command.send_message.message_id)
            await talk.reject(command, messaging.REJECTED_REASON_RATE_LIMITED, retry_after_s=0.01)
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        message_id = await client.send("hi", to="bob")
    assert tries == [message_id] * 3


async def test_an_application_can_tell_its_user_how_things_stand() -> None:
    """`offline` says why there is no stream, `online` that there is one, `caught_up` that what was missed was given."""

    async def breaks(talk: Talk) -> None:
        await talk.open()
        await talk.command()

    async def goes_on(talk: Talk) -> None:
        await talk.command()
        await talk.welcome()
        await talk.tell(message_event("c1", "missed"), message_event("c2", "missed"))
        await talk.resumed("c2")
        await talk.accept_all()

    async with scripted_cell(breaks, goes_on) as cell, client_of(cell.address) as client:
        events = client.events()
        assert isinstance(await anext(events), Started)
        await client.caught_up()
        sending = asyncio.create_task(client.send("hi", to="bob"))
        assert await client.offline() == "the script is over"
        await client.online()
        caught_up = asyncio.create_task(client.caught_up())
        assert await take(events, 1)
        await asyncio.sleep(0)
        assert not caught_up.done()
        assert await take(events, 1)
        await caught_up
        await sending
        offline = asyncio.create_task(client.offline())
        await asyncio.sleep(0)
        assert not offline.done()
        await client.close()
        with pytest.raises(ClientFailed):
            await offline


async def test_only_the_callers_own_deadline_makes_an_outcome_unknown() -> None:
    """Sent and never answered: OutcomeUnknown. Refused until the deadline, or never sent: NotDone."""

    async def silent(talk: Talk) -> None:
        await talk.open()
        while True:
            command = await talk.command()
            if command.send_message.content.text == "refuse":
                await talk.reject(command, messaging.REJECTED_REASON_UNAVAILABLE, retry_after_s=0.01)

    async with scripted_cell(silent) as cell, client_of(cell.address) as client:
        await client.online()
        with pytest.raises(OutcomeUnknown) as unknown:
            await client.send("hi", to="bob", message_id="lost", timeout_s=0.5)
        assert unknown.value.message_id == "lost"
        with pytest.raises(NotDone) as refused:
            await client.send("refuse", to="carol", timeout_s=0.5)
        assert refused.value.reason is Reason.UNAVAILABLE
        assert client.pending == 0
    async with client_of("127.0.0.1:1") as client:
        with pytest.raises(NotDone) as unsent:
            await client.send("hi", to="bob", timeout_s=0.2)
        assert unsent.value.reason is Reason.DEADLINE


async def test_messages_to_one_place_keep_their_order() -> None:
    """A message that is refused for now holds those behind it to the same place, and no others."""
    order: list[str] = []

    async def script(talk: Talk) -> None:
        await talk.open()
        refused = 0
        while True:
            command = await talk.command()
            text = command.send_message.content.text
            if text == "1" and refused < 3:
                refused += 1
                await talk.reject(command, messaging.REJECTED_REASON_UNAVAILABLE, retry_after_s=0.05)
            else:
                order.append(text)
                await talk.accept(command)

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        await client.online()
        await asyncio.gather(
            *(client.send(text, to="bob") for text in "123"), client.send("other", to="carol")
        )
    assert [text for text in order if text != "other"] == ["1", "2", "3"]
    assert order[0] == "other"


async def test_commands_share_frames_within_the_cells_limits() -> None:
    """Frames hold up to max_commands_per_frame commands, and no more are in flight than max_in_flight."""
    most = 0
    frames: list[int] = []

    async def script(talk: Talk) -> None:
        nonlocal most
        await talk.open(max_in_flight=10, max_commands_per_frame=4)
        waiting: list[messaging.Command] = []
        for _ in range(100):
            waiting.append(await talk.command())
            most = max(most, len(waiting))
            if len(waiting) == 10:
                await talk.accept(*waiting)
                waiting.clear()
        frames.extend(talk.frames)
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        await asyncio.gather(*(client.send("hi", to=f"user{n}") for n in range(100)))
    assert most == 10
    assert max(frames) == 4
    assert len(frames) < 60


async def test_too_large_is_refused_before_it_harms_the_stream() -> None:
    """What is beyond the limits of Welcome is refused by the client: a frame that is too large would end the stream."""

    async def script(talk: Talk) -> None:
        await talk.open(max_content_bytes=100, max_recipients=2)
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        with pytest.raises(NotDone) as large:
            await client.send("x" * 101, to="bob")
        assert (large.value.reason, large.value.field, large.value.limit) == (
            Reason.TOO_LARGE,
            "content",
            100,
        )
        with pytest.raises(NotDone) as many:
            await client.send("hi", to=["a", "b", "c"])
        assert many.value.reason is Reason.TOO_MANY_RECIPIENTS
        await client.send("hi", to="bob")


async def test_a_missing_pong_is_a_broken_stream() -> None:
    """The client pings as advised; when the pong does not come it resumes elsewhere, from where it was."""
    hellos: list[messaging.Hello] = []
    pings: list[messaging.Command] = []

    async def dead(talk: Talk) -> None:
        hellos.append(await talk.open(ping_interval_s=0.1))
        await talk.tell(message_event("c1", "one"))
        pings.append(await talk.command(pings=True))
        pings.append(await talk.command(pings=True))  # never answered

    async def alive(talk: Talk) -> None:
        hellos.append(await talk.open())
        await talk.accept_all()

    quick = ClientSettings(backoff_s=0.05, pong_timeout_s=0.3, acknowledges=False)
    async with scripted_cell(dead, alive) as cell, client_of(cell.address, settings=quick):
        async with asyncio.timeout(LONG_S):
            while len(hellos) < 2:
                await asyncio.sleep(0.02)
    assert pings[0].HasField("ping")
    assert [hello.resume_after for hello in hellos] == ["snapshot-1", "c1"]


async def test_go_away_is_followed_when_the_outcomes_are_there() -> None:
    """A stream that is to be left sends no more, gets its outcomes, and is opened anew no sooner than it was told."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    second: list[str] = []

    async def leaving(talk: Talk) -> None:
        await talk.open()
        command = await talk.command()
        away = messaging.GoAway(reason=messaging.GO_AWAY_REASON_DRAIN)
        away.reconnect_after.FromMilliseconds(400)
        away.close_time.FromSeconds(1_000_060)
        times.append(loop.time())
        await talk.tell(messaging.Update(go_away=away))
        await asyncio.sleep(0.1)
        await talk.accept(command)
        with pytest.raises(EOFError):  # nothing more comes on this stream
            await talk.command()

    async def next_one(talk: Talk) -> None:
        times.append(loop.time())
        await talk.open()
        command = await talk.command()
        second.append(command.send_message.content.text)
        await talk.accept(command)
        await talk.accept_all()

    async with scripted_cell(leaving, next_one) as cell, client_of(cell.address) as client:
        first = asyncio.create_task(client.send("first", to="bob"))
        while not times:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await client.send("second", to="bob")
        await first
    assert second == ["second"]
    assert times[1] - times[0] >= 0.4


async def test_the_token_is_refreshed_on_the_live_stream() -> None:
    """Before the token runs out, and again when the cell says that it will, the source's next token is sent."""
    given: list[str] = []
    refreshed: list[str] = []

    async def source() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    async def script(talk: Talk) -> None:
        assert talk.token == given[-1]
        hello = (await talk.command()).hello
        await talk.welcome(expires_s=1)
        await talk.resumed(hello.resume_after)
        command = await talk.command()
        refreshed.append(command.refresh_token.token)
        await talk.accept(command)
        expiring = messaging.GoAway(reason=messaging.GO_AWAY_REASON_TOKEN_EXPIRING)
        await talk.tell(messaging.Update(go_away=expiring))
        command = await talk.command()
        refreshed.append(command.refresh_token.token)
        await talk.accept(command)
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address, source) as client:
        async with asyncio.timeout(LONG_S):
            while len(refreshed) < 2:
                await asyncio.sleep(0.02)
        await client.send("the same stream", to="bob")
    assert refreshed == given[-2:]


async def test_a_refused_token_is_replaced_from_the_source() -> None:
    """UNAUTHENTICATED: the source is asked again, and the stream opened with what it gives."""
    tokens = iter(["old", "old", "new"])
    seen: list[str] = []

    async def source() -> str:
        return next(tokens)

    async def refuse(talk: Talk) -> None:
        seen.append(talk.token)
        await talk.end(grpc.StatusCode.UNAUTHENTICATED, "old")

    async def script(talk: Talk) -> None:
        seen.append(talk.token)
        await serve(talk)

    async with scripted_cell(refuse, script) as cell, client_of(cell.address, source) as client:
        await client.send("hi", to="bob")
    assert seen == ["old", "new"]


async def test_a_token_that_cannot_be_replaced_ends_the_client() -> None:
    """A fixed token that is refused is the end: sends and events raise, and say why."""

    async def refuse(talk: Talk) -> None:
        await talk.end(grpc.StatusCode.UNAUTHENTICATED, "the access token has run out")

    async with scripted_cell(refuse) as cell, client_of(cell.address) as client:
        with pytest.raises(NotDone) as caught:
            await client.send("hi", to="bob")
        assert caught.value.reason is Reason.CLOSED
        events = client.events()
        assert isinstance(await anext(events), Started)
        with pytest.raises(Unauthenticated, match="run out"):
            await anext(events)
        with pytest.raises(Unauthenticated):
            await client.send("again", to="bob")
        with pytest.raises(Unauthenticated):
            await client.online()


async def test_a_source_that_fails_is_asked_again() -> None:
    """An exception of the token source is no reason to give up."""
    failures = 2

    async def source() -> str:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("the identity provider is away")
        return "token"

    async with scripted_cell(serve) as cell, client_of(cell.address, source) as client:
        await client.send("hi", to="bob")
    assert failures == 0


async def test_a_source_that_gives_garbage_hangs_or_is_cancelled_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No token yet is no reason to give up, and the log says what the source did; a send that is too late says it too."""
    monkeypatch.setattr(connection, "_CALL_S", 0.2)

    async def hangs() -> str:
        await asyncio.Event().wait()
        return "never"

    async def cancelled() -> str:
        raise asyncio.CancelledError

    async def garbage() -> Any:
        return None

    async def ends() -> str:
        raise StopAsyncIteration

    async def good() -> str:
        return "token"

    turns = iter([garbage, hangs, cancelled, ends])
    is_good = False

    async def source() -> str:
        return await (good if is_good else next(turns, hangs))()

    async with scripted_cell(serve) as cell, client_of(cell.address, source) as client:
        with pytest.raises(NotDone, match="token source"):
            await client.send("hi", to="bob", timeout_s=3.0)
        is_good = True
        await client.send("hi", to="bob")
    assert "NoneType" in caplog.text


async def test_events_survive_a_caller_who_gives_up_waiting() -> None:
    """A timeout around the next event ends neither the events nor loses one."""
    go_on = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.open()
        await go_on.wait()
        await talk.tell(message_event("c1", "one"))
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        events = client.events()
        assert isinstance(await anext(events), Started)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.05)
        go_on.set()
        event = await asyncio.wait_for(anext(events), LONG_S)
        assert isinstance(event, NewMessage)


async def test_a_program_that_stands_still_keeps_its_stream() -> None:
    """The event loop is blocked for longer than a pong may take: the pong is there, so the stream lives."""
    streams = 0

    async def script(talk: Talk) -> None:
        nonlocal streams
        streams += 1
        await talk.open(ping_interval_s=0.2)
        await talk.accept_all()

    quick = ClientSettings(backoff_s=0.05, pong_timeout_s=0.3)
    async with cell_elsewhere(script) as address, client_of(address, settings=quick) as client:
        await client.online()
        for blocked_s in (0.5, 1.2, 2.5):
            await asyncio.sleep(0.3)
            time.sleep(blocked_s)  # noqa: ASYNC251 - what a careless program does
        await asyncio.sleep(1.5)
        await client.send("hi", to="bob")
    assert streams == 1


@asynccontextmanager
async def cell_elsewhere(script: Script) -> AsyncIterator[str]:
    """A scripted cell in a thread with an event loop of its own."""
    address: Future[str] = Future()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve_there() -> None:
        loops.append(asyncio.get_running_loop())
        async with scripted_cell(script) as cell:
            address.set_result(cell.address)
            await stop.wait()

    running = asyncio.create_task(asyncio.to_thread(asyncio.run, serve_there()))
    try:
        yield await asyncio.wrap_future(address)
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        await running


def reloading(update: messaging.Update, hellos: list[messaging.Hello]) -> tuple[Script, Script]:
    async def gone(talk: Talk) -> None:
        hellos.append((await talk.command()).hello)
        await talk.welcome()
        await talk.tell(message_event("c1", "before"), update, message_event("c9", "after"))
        await talk.accept_all()

    async def onwards(talk: Talk) -> None:
        hellos.append(await talk.open())
        await talk.tell(message_event("c10", "onwards"))
        await talk.accept_all()

    return gone, onwards


RESET = messaging.Update(resumed=messaging.Resumed(cursor="r", outcome=messaging.RESUME_OUTCOME_RESET))


@pytest.mark.parametrize(
    ("update", "kind"),
    [(messaging.Update(gap=messaging.Gap(after="c1", until="c8")), Gap), (RESET, Reset)],
    ids=["gap", "reset"],
)
async def test_gap_and_reset_are_answered_by_reloading(update: messaging.Update, kind: type) -> None:
    """The application is told after the client has reloaded, and events go on behind the snapshot."""
    hellos: list[messaging.Hello] = []
    scripts = reloading(update, hellos)
    async with scripted_cell(*scripts) as cell, client_of(cell.address) as client:
        told = await take(client.events(), 4)
    assert isinstance(told[0], Started)
    assert isinstance(told[2], kind)
    assert isinstance(told[2], Gap | Reset)
    assert told[2].cursor == "snapshot-2"
    assert [event.message.text for event in told if isinstance(event, NewMessage)] == ["before", "onwards"]
    assert [hello.resume_after for hello in hellos] == ["snapshot-1", "snapshot-2"]


async def test_a_cursor_past_the_end_is_a_reset() -> None:
    """OUT_OF_RANGE: the log is shorter than it was. The client reloads, and tells it as a Reset."""

    async def past(talk: Talk) -> None:
        await talk.end(grpc.StatusCode.OUT_OF_RANGE, "past the end")

    async with scripted_cell(past, serve) as cell, client_of(cell.address) as client:
        first, second = await take(client.events(), 2)
    assert isinstance(first, Started)
    assert isinstance(second, Reset)


async def test_an_unanswered_send_is_found_in_history_after_a_reset() -> None:
    """With another log nothing is tried blindly: the message is in history, so it was done."""
    sends: list[str] = []

    async with scripted_cell() as cell:

        async def loses(talk: Talk) -> None:
            await talk.open()
            send = (await talk.command()).send_message
            sends.append(send.message_id)
            ref = messaging.MessageRef(sender_id="ann", message_id=send.message_id)
            cell.stored.append(messaging.Message(ref=ref, content=send.content))

        async def past(talk: Talk) -> None:
            await talk.end(grpc.StatusCode.OUT_OF_RANGE, "past the end")

        async def watches(talk: Talk) -> None:
            await talk.open()
            while True:
                sends.append((await talk.command()).send_message.message_id)

        cell._scripts += [loses, past, watches]
        async with client_of(cell.address) as client:
            message_id = await client.send("hi", to="bob")
            await client.online()
    assert sends == [message_id]


async def test_a_slow_application_bounds_what_waits_and_still_gets_its_outcomes() -> None:
    """Far more events than may wait: sends are answered all the same, and every event comes in the end, once, in order."""
    count = 300
    text = "x" * 1_000
    peak = 0

    async def script(talk: Talk) -> None:
        hello = (await talk.command()).hello
        await talk.welcome()
        start = int(hello.resume_after) if hello.resume_after.isdecimal() else 0

        async def push() -> None:
            for n in range(start + 1, count + 1):
                await talk.tell(message_event(str(n), text))
            await talk.resumed(str(count))

        pushing = asyncio.create_task(push())
        try:
            await talk.accept_all()
        finally:
            pushing.cancel()

    small = ClientSettings(backoff_s=0.05, max_event_bytes=20_000, leave_s=0.2, acknowledges=False)
    async with scripted_cell(*[script] * 500) as cell, client_of(cell.address, settings=small) as client:
        for _ in range(20):
            await client.send("hi", to="bob")
            peak = max(peak, client._connection.protocol.inbox._bytes)
        got: list[str] = []
        async for event in client.events():
            if isinstance(event, NewMessage):
                got.append(event.cursor)
            if len(got) == count:
                break
    assert got == [str(n) for n in range(1, count + 1)]
    assert peak < 2 * small.max_event_bytes + 5_000


async def test_repeats_are_dropped() -> None:
    """A message that comes a second time, with the same cursor or another one, is not handed over again."""

    async def script(talk: Talk) -> None:
        await talk.open()
        await talk.tell(
            message_event("c1", "one", message_id="m1"),
            message_event("c1", "one", message_id="m1"),
            message_event("c2", "one", message_id="m1"),
            message_event("c3", "two", message_id="m2"),
        )
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        told = (await take(client.events(), 3))[1:]
    assert [event.message.text for event in told if isinstance(event, NewMessage)] == ["one", "two"]


async def test_what_the_client_does_not_know_is_skipped_and_its_cursor_kept() -> None:
    """Updates, events and values to come harm nothing; a client that returns does so after the event it skipped."""
    hellos: list[messaging.Hello] = []

    async def newer(talk: Talk) -> None:
        hellos.append(await talk.open())
        event = messaging.Event.FromString(b"\x0a\x02c2\x4a\x00")  # field 9
        go_away = messaging.GoAway(reason=99)  # type: ignore[arg-type]
        await talk.tell(
            message_event("c1", "one"),
            messaging.Update(event=event),
            messaging.Update.FromString(b"\xf2\x01\x00"),  # field 30
            messaging.Update(event=messaging.Event(cursor="c3", read_mark=messaging.ReadMark(user_id="bob"))),
            messaging.Update(event=event),
            messaging.Update(go_away=go_away),
        )
        await talk.command()

    async def next_one(talk: Talk) -> None:
        hellos.append(await talk.open())
        await talk.tell(message_event("c4", "two"))
        await talk.accept_all()

    async with scripted_cell(newer, next_one) as cell, client_of(cell.address) as client:
        texts = [event.message.text async for event in until_text(client.events(), "two")]
    assert texts == ["one", "two"]
    assert hellos[1].resume_after == "c2"


async def until_text(events: AsyncIterator[Event], text: str) -> AsyncIterator[NewMessage]:
    async for event in events:
        if isinstance(event, NewMessage):
            yield event
            if event.message.text == text:
                return


async def test_what_the_application_has_taken_is_acknowledged() -> None:
    """An event is acknowledged when the application comes back for the next one."""
    acknowledged: list[str] = []

    async def script(talk: Talk) -> None:
        await talk.open()
        await talk.tell(message_event("c1", "one"), message_event("c2", "mine", sender_id="ann"))
        while True:
            command = await talk.command()
            acknowledged.append(command.acknowledge.cursor)
            await talk.accept(command)

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        events = client.events()
        await take(events, 2)
        await asyncio.sleep(0.1)
        assert acknowledged == []
        await anext(events)
        async with asyncio.timeout(LONG_S):
            while not acknowledged:
                await asyncio.sleep(0.01)
    assert acknowledged == ["c1"]


async def test_what_a_broken_stream_had_brought_is_marked_as_received_on_the_next() -> None:
    """An acknowledgement speaks for its own stream: after a break one mark tells of each conversation, once."""
    told: list[messaging.Command] = []

    async def breaks(talk: Talk) -> None:
        await talk.open()
        await talk.tell(message_event("c1", "one"), message_event("c2", "two"), message_event("c3", "three"))
        await talk.command()  # and the outcome is lost

    async def onwards(talk: Talk) -> None:
        await talk.open()
        while True:
            told.append(await talk.command())
            await talk.accept(told[-1])

    async with scripted_cell(breaks, onwards) as cell, client_of(cell.address) as client:
        events = client.events()
        await take(events, 4)
        async with asyncio.timeout(LONG_S):
            while not told:
                await asyncio.sleep(0.01)
        assert told[0].mark_received.through.message_id == "id-c2"
        assert list(told[0].mark_received.participants.user_ids) == ["bob"]
        await client.confirm()
        async with asyncio.timeout(LONG_S):
            while len(told) < 2:
                await asyncio.sleep(0.01)
        assert told[1].mark_received.through.message_id == "id-c3"
        await asyncio.sleep(0.1)
    assert len(told) == 2


async def test_a_post_is_sent_by_the_next_process(tmp_path: Path) -> None:
    """What was posted while the cell was away is sent by another client on the same store, and the events follow on."""
    store = tmp_path / "client.db"
    async with scripted_cell(serve) as cell, client_of(cell.address, store=FileStore(store)) as client:
        await take(client.events(), 1)
        await client.confirm()
    sleeping = client_of("127.0.0.1:1", store=FileStore(store))
    await sleeping.start()
    message_id = await sleeping.post("later", to="bob")
    await sleeping.close()

    sent: list[str] = []
    hellos: list[str] = []

    async def script(talk: Talk) -> None:
        hellos.append((await talk.open()).resume_after)
        command = await talk.command()
        sent.append(command.send_message.message_id)
        await talk.accept(command)
        await talk.accept_all()

    async with scripted_cell(script) as cell, client_of(cell.address, store=FileStore(store)) as client:
        assert await client.flush(LONG_S)
    assert sent == [message_id]
    assert hellos == ["snapshot-1"]


async def test_a_refused_post_is_told_until_it_was_taken(tmp_path: Path) -> None:
    """Nobody waits for a post: its refusal comes as an event, again after a restart until it is taken."""

    async def script(talk: Talk) -> None:
        await talk.open()
        command = await talk.command()
        await talk.reject(command, messaging.REJECTED_REASON_NOT_ALLOWED, detail="no")
        await talk.accept_all()

    store = tmp_path / "client.db"
    async with scripted_cell(script) as cell, client_of(cell.address, store=FileStore(store)) as client:
        message_id = await client.post("hi", to="bob")
        events = client.events()
        await take(events, 1)
        told = await anext(events)
        assert isinstance(told, NotSent)
        assert (told.message_id, told.error.reason) == (message_id, Reason.NOT_ALLOWED)
    for expected in (True, False):
        async with scripted_cell(serve) as cell, client_of(cell.address, store=FileStore(store)) as client:
            await client.online()
            assert bool(client._connection.protocol.inbox) is expected
            if expected:
                told = await anext(client.events())
                assert isinstance(told, NotSent)
                await client.confirm()


async def test_what_was_refused_may_be_posted_again_under_its_id(tmp_path: Path) -> None:
    """Before the refusal was taken, and after a restart too: the new message is sent, and kept until then."""
    path = tmp_path / "client.db"
    accepting = False

    async def script(talk: Talk) -> None:
        await talk.open()
        while True:
            command = await talk.command()
            if command.HasField("send_message") and not accepting:
                await talk.reject(command, messaging.REJECTED_REASON_NOT_ALLOWED, detail="no")
            else:
                await talk.accept(command)

    async with scripted_cell(*[script] * 3) as cell:
        for _ in range(2):
            async with client_of(cell.address, store=FileStore(path)) as client:
                for _ in range(2):
                    await client.post("hi", to="bob", message_id="one")
                    assert await client.flush(LONG_S)
        accepting = True
        async with client_of(cell.address, store=FileStore(path)) as client:
            told = [event async for event in until_not_sent(client.events())]
            assert [event.message_id for event in told] == ["one"]
            await client.post("hi", to="bob", message_id="one", taking=True)
            assert await client.flush(LONG_S)
    heir = FileStore(path)
    assert heir.load().commands == []
    heir.close()


async def until_not_sent(events: AsyncIterator[Event]) -> AsyncIterator[NotSent]:
    async for event in events:
        if isinstance(event, NotSent):
            yield event
            return


async def test_a_bot_with_more_to_do_than_it_may_hold_survives_a_break() -> None:
    """It waits for each answer while more events come than may wait: a new stream is read until it is welcome."""
    count = 40
    text = "x" * 1_000
    answers: list[str] = []

    async def script(talk: Talk) -> None:
        hello = (await talk.command()).hello
        await talk.welcome()
        start = int(hello.resume_after) if hello.resume_after.isdecimal() else 0
        for n in range(start + 1, count + 1):
            await talk.tell(message_event(str(n), text))
        await talk.resumed(str(count))
        for _ in range(3):
            command = await talk.command()
            answers.append(command.send_message.message_id)
            await talk.accept(command)
        await talk.command()  # and the outcome is lost

    small = ClientSettings(
        backoff_s=0.05,
        max_backoff_s=0.1,
        max_event_bytes=10_000,
        leave_s=0.2,
        acknowledges=False,
        open_timeout_s=2.0,
    )
    async with scripted_cell(*[script] * 500) as cell, client_of(cell.address, settings=small) as client:
        async with asyncio.timeout(LONG_S):
            answered = 0
            async for event in client.events():
                if isinstance(event, NewMessage):
                    await client.reply(
                        event.message, "yes", message_id=f"answer {event.cursor}", timeout_s=None
                    )
                    answered += 1
                if answered == count:
                    break
    assert sorted(set(answers)) == sorted(f"answer {n}" for n in range(1, count + 1))


async def test_a_store_is_of_one_client_and_one_user(tmp_path: Path) -> None:
    """A store in use is refused at start; one of another user ends the client before anything is sent."""
    store = tmp_path / "client.db"
    async with scripted_cell(serve, serve) as cell:
        async with client_of(cell.address, store=FileStore(store)) as client:
            await client.online()
            with pytest.raises(StoreInUse):
                await client_of(cell.address, store=FileStore(store)).start()
        kept = FileStore(store)
        kept.load()
        kept.commit([OfUser("bob")])
        kept.close()
        async with client_of(cell.address, store=FileStore(store)) as client:
            with pytest.raises(WrongUser):
                await client.online()


async def test_a_snapshot_is_taken_for_good_before_anything_behind_it_is_given(tmp_path: Path) -> None:
    """Or a process that is killed then would start later the next time, and not be given again what it had in hand."""
    changes: list[object] = []

    class Spied(FileStore):
        def commit(self, more: Sequence[Change]) -> None:
            super().commit(more)
            changes.extend(more)

    async def script(talk: Talk) -> None:
        await talk.open()
        await talk.tell(message_event("c1", "one"))
        await talk.accept_all()

    store = Spied(tmp_path / "client.db")
    async with scripted_cell(script) as cell, client_of(cell.address, store=store) as client:
        await take(client.events(), 2)
        assert Moved("snapshot-1") in changes
        assert Moved("c1") not in changes


async def test_a_full_disk_ends_the_client_and_spoils_nothing(tmp_path: Path) -> None:
    """SQLite's own answer to a full disk: the post is refused, and the file holds what had been promised before."""
    path = tmp_path / "client.db"
    store = FileStore(path)
    async with client_of("127.0.0.1:1", store=store) as client:
        await client.post("small", to="bob", message_id="small")
        assert store._connection is not None
        store._connection.execute("pragma max_page_count = 8")
        with pytest.raises(StoreFailed, match="full"):
            await client.post("x" * 60_000, to="bob", message_id="large")
        with pytest.raises(StoreFailed, match="full"):
            await client.post("again", to="bob")
        with pytest.raises(StoreFailed, match="full"):
            await anext(client.events())
        await client.close()
    heir = FileStore(path)
    assert [command.id for command in heir.load().commands] == ["small"]
    heir.close()


class FullStore:
    """A disk that becomes full."""

    is_durable = True

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error or StoreFailed("the disk is full")

    def load(self) -> Kept:
        return Kept(cursor="c0")

    def commit(self, changes: object) -> None:
        raise self._error

    def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [None, OSError("the disk is full")])
async def test_a_store_that_fails_ends_the_client(error: Exception | None) -> None:
    """Nothing is said to be taken that is not kept, whatever a store of one's own raises."""
    async with scripted_cell(serve) as cell, client_of(cell.address, store=FullStore(error)) as client:
        with pytest.raises(StoreFailed, match="full"):
            await client.post("hi", to="bob")
        with pytest.raises(ClientFailed):
            await client.send("hi", to="bob")


async def test_what_is_taken_after_the_end_is_not_kept_and_that_is_said(tmp_path: Path) -> None:
    """`confirm` on a closed client raises what every call raises, and the event is given again by the next one."""
    path = tmp_path / "client.db"
    async with scripted_cell() as cell:
        client = client_of(cell.address, store=FileStore(path))
        await client.start()
        assert isinstance(await anext(client.events()), Started)
        await client.close()
        with pytest.raises(ClientFailed, match="closed"):
            await client.confirm()
        await client.close()
        async with client_of(cell.address, store=FileStore(path)) as heir:
            assert isinstance(await anext(heir.events()), Started)


async def test_a_disk_that_is_full_at_the_end_is_told_and_releases_the_file(tmp_path: Path) -> None:
    """The last changes cannot be kept: `close` raises that, ends all the same, and another client may open the file."""

    class Fills(FileStore):
        is_full = False

        def commit(self, changes: Sequence[Change]) -> None:
            if self.is_full:
                raise StoreFailed("the disk is full")
            super().commit(changes)

    store = Fills(tmp_path / "client.db")
    async with scripted_cell() as cell:
        client = client_of(cell.address, store=store)
        await client.start()
        events = client.events()
        assert isinstance(await anext(events), Started)
        client._connection.protocol.take(clock.now_s())
        store.is_full = True
        with pytest.raises(StoreFailed, match="full"):
            await client.close()
        await client.close()
        FileStore(store.path).load()


def test_a_commit_outlives_the_end_of_its_event_loop(tmp_path: Path) -> None:
    """All tasks are cancelled at once, as asyncio.run does at its end: what was under way is kept, and the file released."""
    reached, go_on = threading.Event(), threading.Event()

    class Slow(FileStore):
        def commit(self, changes: Sequence[Change]) -> None:
            reached.set()
            assert go_on.wait(LONG_S)
            super().commit(changes)

    path = tmp_path / "client.db"

    async def program() -> None:
        async def work() -> None:
            async with client_of("127.0.0.1:1", store=Slow(path)) as client:
                await client.post("hi", to="bob", message_id="one")

        working = asyncio.create_task(work())
        assert await asyncio.to_thread(reached.wait, LONG_S)
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert not working.done()

    asyncio.run(program())
    heir = FileStore(path)
    assert [command.id for command in heir.load().commands] == ["one"]
    heir.close()


async def test_flush_is_not_over_when_the_client_has_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """What had no outcome when the client failed is not flushed, and without a store the log tells how much is gone."""

    async def refuse(talk: Talk) -> None:
        await talk.end(grpc.StatusCode.UNAUTHENTICATED, "the access token has run out")

    async with scripted_cell(refuse) as cell, client_of(cell.address) as client:
        await client.post("hi", to="bob")
        assert not await client.flush(LONG_S)
        assert not await client.flush(LONG_S)
        with pytest.raises(Unauthenticated):
            await client.online()
    assert caplog.text.count("1 commands without an outcome are given up") == 1


async def test_a_full_outbox_says_so() -> None:
    """Beyond its bound a command is refused at once, by name."""
    tiny = ClientSettings(max_outbox_commands=2)
    async with client_of("127.0.0.1:1", settings=tiny) as client:
        await client.post("1", to="bob")
        await client.post("2", to="bob")
        with pytest.raises(NotDone) as caught:
            await client.post("3", to="bob")
        assert (caught.value.reason, caught.value.limit) == (Reason.OUTBOX_FULL, 2)
        await client.close()


async def test_closing_tells_everyone_who_waits() -> None:
    """Sends that were never sent are not done, others unknown; events end."""

    async def silent(talk: Talk) -> None:
        await talk.open()
        while True:
            await talk.command()

    async with scripted_cell(silent) as cell:
        client = client_of(cell.address)
        await client.start()
        await client.online()
        tried = asyncio.create_task(client.send("1", to="bob"))
        behind = asyncio.create_task(client.send("2", to="bob"))
        await asyncio.sleep(0.2)
        listening = asyncio.create_task(take_all(client))
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(OutcomeUnknown):
            await tried
        with pytest.raises(NotDone) as caught:
            await behind
        assert caught.value.reason is Reason.CLOSED
        assert len(await listening) == 1
        with pytest.raises(ClientFailed):
            await client.send("3", to="bob")


async def take_all(client: Client) -> list[Event]:
    return [event async for event in client.events()]


async def test_a_cancelled_send_is_given_up() -> None:
    """Cancelling the caller withdraws the command."""
    async with client_of("127.0.0.1:1") as client:
        sending = asyncio.create_task(client.send("hi", to="bob"))
        await asyncio.sleep(0.05)
        assert client.pending == 1
        sending.cancel()
        await asyncio.wait([sending])
        assert client.pending == 0


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_an_outcome_may_come_in_the_moment_in_which_nobody_waits_any_more(
    is_cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller whose time is over is told the outcome all the same; one who is cancelled is, and nothing is left."""
    reached = asyncio.Event()
    timeouts: list[asyncio.Timeout] = []
    new_timeout = asyncio.timeout

    def timeout(delay_s: float | None) -> asyncio.Timeout:
        made = new_timeout(delay_s)
        if delay_s == LONG_S:
            timeouts.append(made)
        return made

    async def script(talk: Talk) -> None:
        await talk.open()
        await talk.command()
        reached.set()
        await asyncio.Event().wait()

    async with scripted_cell(script) as cell, client_of(cell.address) as client:
        await client.online()
        monkeypatch.setattr(asyncio, "timeout", timeout)
        sending = asyncio.create_task(client.send("hi", to="bob", timeout_s=LONG_S))
        await reached.wait()
        link = client._connection
        assert link.protocol.stream is not None
        (number,) = link.protocol.stream.in_flight
        rejected = messaging.Rejected(
            command_id=number,
            reason=messaging.REJECTED_REASON_NOT_FOUND,
            outcome=messaging.REJECTED_OUTCOME_NOT_DONE,
        )

        def refuse() -> None:
            link.protocol.received([messaging.Update(rejected=rejected)], clock.now_s())
            link._changed()

        if is_cancelled:
            sending.cancel()
            refuse()
        else:  # both in one turn of the loop
            loop = asyncio.get_running_loop()
            timeouts[0].reschedule(loop.time())
            loop.call_soon(refuse)
        with pytest.raises(asyncio.CancelledError if is_cancelled else NotDone):
            await sending
        assert client.pending == 0
        assert (link._waiting, link._late) == ({}, {})


async def test_a_send_may_be_cancelled_at_any_point() -> None:
    """Sent or not, it is not tried again, and nothing is left of it; the same id sent again finds out what became of it."""
    seen: list[str] = []
    answering = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.open()
        while True:
            command = await talk.command()
            seen.append(command.send_message.message_id)
            if answering.is_set():
                await talk.accept(command)

    async with scripted_cell(script, script) as cell, client_of(cell.address) as client:
        await client.online()
        for steps in range(12):
            sending = asyncio.create_task(client.send("hi", to=f"user{steps}", message_id=f"m{steps}"))
            for _ in range(steps):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert client.pending == 0
            assert client._connection._waiting == {}
        answering.set()
        await client.send("all before have arrived", to="someone")
        before = len(seen)
        assert await client.send("hi", to="user11", message_id="m11") == "m11"
        assert seen[before:].count("m11") == 1


async def test_a_cancelled_post_is_in_the_outbox(tmp_path: Path) -> None:
    """Once `post` has begun it is not called back: it is sent, by this process or a later one."""
    path = tmp_path / "client.db"
    client = client_of("127.0.0.1:1", store=FileStore(path))
    await client.start()
    posting = asyncio.create_task(client.post("hi", to="bob", message_id="one"))
    await asyncio.sleep(0)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    assert client.pending == 1
    await client.close()
    heir = FileStore(path)
    assert [command.id for command in heir.load().commands] == ["one"]
    heir.close()


async def test_wrong_use_is_a_value_error() -> None:
    """Both or neither of the ways to name a place, and text beside data, are refused where they are written."""
    client = client_of("127.0.0.1:1")
    await client.start()
    with pytest.raises(ValueError, match="either"):
        await client.send("hi")
    with pytest.raises(ValueError, match="either"):
        await client.send("hi", to="bob", conversation_id="C" * 22)
    with pytest.raises(ValueError, match="either"):
        await anext(client.history())
    await client.close()


async def test_a_client_is_started_once() -> None:
    """Use before the start, and a second start, say what is wrong."""
    client = client_of("127.0.0.1:1")
    with pytest.raises(RuntimeError, match="async with"):
        await client.send("hi", to="bob")
    await client.start()
    with pytest.raises(RuntimeError, match="once"):
        await client.start()
    await client.close()


async def test_a_question_to_a_cell_that_is_away_fails_in_time() -> None:
    """History is asked again until the caller's time runs out, and then it is UNAVAILABLE."""
    client = client_of("127.0.0.1:1")
    await client.start()
    with pytest.raises(CallFailed) as caught:
        await anext(client.conversations(timeout_s=0.5))
    assert caught.value.reason in (Reason.UNAVAILABLE, Reason.DEADLINE)
    await client.close()


async def test_a_question_survives_the_connection_that_it_was_asked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stream moves to another connection, and the old one is closed under the call: it is asked again."""
    monkeypatch.setattr(channels, "_GRACE_S", 0.1)
    leave = asyncio.Event()

    async def ends(talk: Talk) -> None:
        await talk.open()
        await leave.wait()

    async with scripted_cell(ends, serve) as cell, client_of(cell.address) as client:
        await client.online()
        async with asyncio.timeout(LONG_S):
            asking = await unanswered(cell, client)
            leave.set()
            assert await asking == []


async def test_a_question_of_a_client_that_is_closed_says_so() -> None:
    """Nobody has cancelled whoever asked."""
    async with scripted_cell(serve) as cell:
        client = client_of(cell.address)
        await client.start()
        await client.online()
        async with asyncio.timeout(LONG_S):
            asking = await unanswered(cell, client)
            await client.close()
            with pytest.raises(ClientFailed, match="closed"):
                await asking


async def unanswered(cell: ScriptedCell, client: Client) -> "asyncio.Task[list[Conversation]]":
    """A question that the cell has and does not answer."""
    cell.silent_calls = 1
    asking = asyncio.create_task(take_conversations(client))
    while cell.silent_calls:
        await asyncio.sleep(0.01)
    return asking


async def take_conversations(client: Client) -> list[Conversation]:
    return [conversation async for conversation in client.conversations()]


async def test_tls(tmp_path: Path) -> None:
    """With credentials the connection is encrypted, and checked against what the client trusts."""
    key, certificate = self_signed()
    server_credentials = grpc.ssl_server_credentials([(key, certificate)])
    async with scripted_cell(serve, credentials=server_credentials) as cell:
        trusting = grpc.ssl_channel_credentials(certificate)
        name = [("grpc.ssl_target_name_override", "localhost")]
        async with client_of(cell.address, credentials=trusting, channel_options=name) as client:
            await client.send("hi", to="bob")
        async with client_of(cell.address, credentials=grpc.ssl_channel_credentials()) as client:
            with pytest.raises(NotDone):
                await client.send("hi", to="bob", timeout_s=0.5)


def self_signed() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    return (
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password),
        certificate.public_bytes(encoding),
    )
