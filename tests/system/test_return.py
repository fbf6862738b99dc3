"""A client that was away gets exactly what it missed, in order, once: from the window, and from history."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from cell.messaging.v1.messaging_pb2_grpc import MessagingServiceStub
from check.calls import bearer, open_channel
from check.history_pages import all_events, all_messages, by_id, events_at_least, with_users
from check.ledger import (
    Ledger,
    Moved,
    Skipped,
    Told,
    conversation,
    is_message,
    marks,
    message_ids,
    once_violations,
    session_violations,
    sort_key,
    without_marks,
)
from check.plain_client import PlainClient
from check.plain_outbox import Submission, text_message
from tests.system.cell_process import CellProcess, token
from tests.system.conftest import Connect

FILLING = "x" * 1_000
MISSED = 300
CELLS: dict[str, dict[str, object]] = {
    "from the window": {},
    "from history": {"window_bytes": 1 << 16},
    "one partition": {"window_bytes": 1 << 16, "partitions": 1},
}

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=[*CELLS.values()], ids=[*CELLS])
def cell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    """A cell whose window holds all that these tests send, and cells whose windows hold next to nothing of it."""
    with CellProcess(tmp_path_factory.mktemp("cell"), request.param) as running:
        yield running


async def send_many(client: PlainClient, to: str, count: int) -> list[Submission]:
    """Send so many messages and wait until all are accepted."""
    submissions = [client.submit(text_message(f"{n} {FILLING}", [to])) for n in range(count)]
    await client.settle(*submissions)
    assert all(submission.accepted for submission in submissions)
    return submissions


@asynccontextmanager
async def traffic(client: PlainClient, to: str) -> AsyncIterator[list[Submission]]:
    """Messages keep arriving as long as this lasts; all are accepted at its end."""
    sent: list[Submission] = []
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            sent.append(await client.done(text_message(f"traffic {len(sent)} {FILLING}", [to])))

    writer = asyncio.ensure_future(write())
    try:
        yield sent
    finally:
        stop.set()
        await writer


async def test_it_gets_what_it_missed_before_resumed(connect: Connect) -> None:
    """All that was durable when the stream opened comes before `resumed`, in order, once; what comes later after it."""
    async with connect("ann1") as ann:
        async with connect("bob1") as bob:
            await send_many(ann, "bob1", 5)
            await bob.until_events(5)
        missed = await send_many(ann, "bob1", MISSED)
        await events_at_least(ann, MISSED + 5)
        async with connect("bob1", resume_after=bob.cursor, ledger=bob.ledger) as again:
            resumed = await again.until_resumed()
            assert resumed.outcome == messaging.RESUME_OUTCOME_RESUMED
            later = await ann.send("later", ["bob1"])
            await again.message("ann1", later.ref.message_id)
            kinds = [type(step) for step in again.ledger.steps[-(MISSED + 2) :]]
            assert kinds == [Told] * MISSED + [Moved, Told]
            assert message_ids(again.ledger.events)[5:] == [s.id for s in missed] + [later.ref.message_id]
            assert session_violations(await events_at_least(again, MISSED + 6), again.ledger) == []


@pytest.mark.parametrize("transport", ["connect", "subscribe"])
async def test_it_catches_up_while_messages_keep_arriving(connect: Connect, transport: str) -> None:
    """Clients that return at many cursors, under traffic, all end with the same sequence and no double."""
    ann_id, bob_id = f"ann2{transport}", f"bob2{transport}"
    async with connect(ann_id) as ann, connect(bob_id) as bob:
        await send_many(ann, bob_id, MISSED)
        events = list(await bob.until_events(MISSED))
        async with traffic(ann, bob_id) as sent:
            starts = [-1, 0, 1, 50, 151, MISSED - 2, MISSED - 1]
            clients = [
                connect(bob_id, transport=transport, resume_after="" if at < 0 else events[at].cursor)
                for at in starts
            ]
            for client in clients:
                client.start()
            for client in clients:
                await client.until_resumed()
            at_resumed = len(sent)
            while len(sent) < at_resumed + 20:
                await asyncio.sleep(0.01)
        last = await ann.send("last", [bob_id])
        for client in [bob, *clients]:
            await client.message(ann_id, last.ref.message_id)
        for at, client in zip(starts, clients, strict=True):
            assert session_violations(bob.ledger.events, client.ledger, start=at + 1) == []
            assert once_violations(client.ledger.events) == []
            assert client.ledger.gaps == []
            await client.close()
        names = [(ann_id, s.id) for s in ann.accepted_order]
        assert once_violations(bob.ledger.events, names) == []
        assert len(bob.ledger.events) == len(names)


async def until_steps(client: PlainClient, count: int) -> None:
    """Until the ledger has so many steps."""
    await client.until(lambda: len(client.ledger.steps) >= count, f"{count} steps")


async def test_broken_streams_lose_and_double_nothing(connect: Connect) -> None:
    """A client whose stream breaks again and again, at any moment, has each event once in the end."""
    chance = random.Random(7)
    async with connect("ann3") as ann, connect("bob3") as steady, connect("bob3") as broken:
        async with traffic(ann, "bob3"):
            while broken.streams < 40:
                await until_steps(broken, len(broken.ledger.steps) + chance.randrange(40))
                broken.drop_stream()
                await asyncio.sleep(chance.random() * 0.02)
        last = await ann.send("last", ["bob3"])
        for client in (steady, broken):
            await client.message("ann3", last.ref.message_id)
        assert session_violations(steady.ledger.events, broken.ledger) == []
        assert once_violations(broken.ledger.events, [("ann3", s.id) for s in ann.accepted_order]) == []
        assert broken.ledger.gaps == []


async def test_what_was_received_before_a_break_can_be_told_after_it(connect: Connect) -> None:
    """A stream's Acknowledge speaks for what itself was sent; of what came before the break MarkReceived tells."""
    async with connect("ann10") as ann, connect("bob10") as bob:
        message = await ann.send("received, then cut off", ["bob10"])
        await bob.message("ann10", message.ref.message_id)
        cursor = bob.ledger.events[-1].cursor
        bob.drop_stream()
        await bob.until(lambda: bob.streams == 2, "another stream")
        await bob.until_resumed()
        await bob.done(messaging.Command(acknowledge=messaging.Acknowledge(cursor=cursor)))
        received = ("received_mark", message.ref.conversation_id, "bob10")
        assert received not in marks(ann.ledger.events)
        await bob.done(messaging.Command(mark_received=messaging.MarkReceived(through=message.ref)))
        await ann.until(lambda: received in marks(ann.ledger.events), "the received mark")
        assert marks(ann.ledger.events)[received] == sort_key(message.ref)


async def test_live_only_starts_from_now(connect: Connect) -> None:
    """live_only: nothing old, everything new; and it resumes as any other from then on."""
    async with connect("ann4") as ann, connect("bob4") as steady:
        old = await send_many(ann, "bob4", 20)
        await steady.until_events(20)  # by now all are in bob's log
        async with connect("bob4", resume_after=None) as bob:
            resumed = await bob.until_resumed()
            assert resumed.outcome == messaging.RESUME_OUTCOME_LIVE
            new = await ann.send("new", ["bob4"])
            await bob.message("ann4", new.ref.message_id)
            assert message_ids(bob.ledger.events) == [new.ref.message_id]
        async with connect("bob4", resume_after=resumed.cursor) as again:
            await again.until_resumed()
            assert message_ids(again.ledger.events) == [new.ref.message_id]
        async with connect("bob4") as whole:
            await whole.until_resumed()
            assert message_ids(whole.ledger.events) == [s.id for s in old] + [new.ref.message_id]


async def test_every_cursor_it_was_told_is_a_place_to_resume_from(connect: Connect) -> None:
    """From the cursor of any event, `resumed` or `checkpoint`: exactly what followed it (I7)."""
    async with connect("ann5") as ann, connect("bob5") as bob:
        await bob.until_resumed()
        for _ in range(3):
            await send_many(ann, "bob5", 10)
            bob.drop_stream()
            await bob.until(lambda: bob.resumed is None, "end of the stream")
            await bob.until_resumed()
        events = list(await bob.until_events(30))
        told = 0
        places: list[tuple[str, int]] = [("", 0)]
        for step in bob.ledger.steps:
            if isinstance(step, Told):
                told += 1
                places.append((step.event.cursor, told))
            elif isinstance(step, Moved):
                places.append((step.cursor, told))
        await events_at_least(bob, 30)
        for cursor, seen in places[:: len(places) // 12] + places[-3:]:
            async with connect("bob5", resume_after=cursor) as client:
                await client.until_resumed()
                assert client.ledger.events == events[seen:]
            assert await all_events(bob, after=cursor) == events[seen:]


async def test_list_events_pages_equal_the_stream(connect: Connect) -> None:
    """ListEvents, page by page of any size, gives what the stream gave, messages and reactions, each once."""
    async with connect("ann6") as ann, connect("bob6") as bob:
        await send_many(ann, "bob6", 60)
        events = list(await bob.until_events(60))
        for n in range(0, 60, 3):
            ref = events[n].message.ref
            await bob.done(
                messaging.Command(react=messaging.React(reaction_id=f"r{n}", message=ref, key="👍"))
            )
        await bob.until_events(80)
        await events_at_least(bob, 80)
        for page_size in (1, 7, 80, 500):
            assert await all_events(bob, page_size=page_size) == bob.ledger.events
        for at in (0, 30, 79):
            assert await all_events(bob, after=bob.ledger.events[at].cursor) == bob.ledger.events[at + 1 :]


async def test_snapshot_then_stream_has_no_hole_and_no_double(connect: Connect) -> None:
    """Under traffic: ListConversations holds all through its cursor, and the stream from there all the rest, once."""
    async with (
        connect("ann7") as ann,
        connect("bob7") as bob,
        connect("eve7") as eve,
        traffic(ann, "bob7") as sent,
        traffic(eve, "bob7"),
    ):
        for round_number in range(8):
            while len(sent) < round_number * 30:
                await asyncio.sleep(0.01)
            await _snapshot_then_stream(connect, bob, page_size=(1, 50)[round_number % 2])


async def _snapshot_then_stream(connect: Connect, bob: PlainClient, page_size: int) -> None:
    request = history.ListConversationsRequest(page_size=page_size)
    pages = [await bob.history.ListConversations(request, metadata=bob.metadata)]
    while pages[-1].next_page_token:
        request = history.ListConversationsRequest(page_size=page_size, page_token=pages[-1].next_page_token)
        pages.append(await bob.history.ListConversations(request, metadata=bob.metadata))
    assert len({page.cursor for page in pages}) == 1
    shown = {c.conversation_id: c for page in pages for c in page.conversations}
    async with connect("bob7", resume_after=pages[0].cursor) as client:
        await client.until_resumed()
        told = await client.until_events(1)
        await bob.until(
            lambda: told[-1].cursor in [event.cursor for event in bob.ledger.events], "as much as the other"
        )
        start = [event.cursor for event in bob.ledger.events].index(client.ledger.events[0].cursor)
        assert session_violations(bob.ledger.events, client.ledger, start=start, complete=False) == []
        before = [event.message.ref for event in bob.ledger.events[:start] if is_message(event)]
        for conversation_id in {ref.conversation_id for ref in before}:
            known = [ref for ref in before if ref.conversation_id == conversation_id]
            if conversation_id not in shown:
                # It became active while we paged: its event comes after the cursor.
                later = (event.message.ref.conversation_id for event in bob.ledger.events[start:])
                assert len(pages) > 1
                assert conversation_id in later
                continue
            assert sort_key(shown[conversation_id].last_message.message.ref) >= max(map(sort_key, known))
            assert shown[conversation_id].unread_count >= min(len(known), 999)
            stored = [
                item.message.ref for item in await all_messages(bob, by_id(conversation_id), page_size=500)
            ]
            assert not {sort_key(ref) for ref in known} - {sort_key(ref) for ref in stored}


async def test_a_wide_group_comes_back_as_a_direct_conversation_does(connect: Connect) -> None:
    """Messages of a group of 21 and of two, mixed: from the stream, by ListEvents and after an absence the same sequence."""
    everyone = [f"wide{n}" for n in range(20)]
    async with connect("ann11") as ann, connect("wide3") as steady:
        await ann.send("first", everyone)
        await steady.until_events(1)
        async with connect("wide3") as bob:
            await bob.until_events(1)
        for n in range(60):
            ann.submit(text_message(f"wide {n} {FILLING}", everyone))
            ann.submit(text_message(f"direct {n} {FILLING}", ["wide3"]))
            if n % 10 == 9:
                await ann.settle(steady.submit(text_message(f"from within {n}", ["ann11", *everyone])))
        events = list(await steady.until_events(127))
        assert await events_at_least(steady, 127) == events
        for page_size in (1, 10):
            assert await all_events(steady, page_size=page_size) == events
        async with connect("wide3", resume_after=bob.cursor, ledger=bob.ledger) as again:
            await again.until_resumed()
            assert session_violations(events, again.ledger) == []
        other = await connect_and_read(connect, "wide7", 67)
        wide = events[0].message.ref.conversation_id
        assert conversation(other, wide) == conversation(events, wide)
        assert len(conversation(events, wide)) == 67


async def connect_and_read(connect: Connect, user_id: str, count: int) -> list[messaging.Event]:
    """All events of a user who was never there before."""
    async with connect(user_id) as client:
        await client.until_events(count)
        await client.until_resumed()
        return client.ledger.events


async def test_a_client_that_takes_nothing_for_a_while_gets_all_and_stalls_nobody(
    cell: CellProcess, connect: Connect
) -> None:
    """While a client does not read, others of its user get everything; when it reads again it gets all, once (R12)."""
    async with connect("ann12") as ann, connect("bob12") as steady, open_channel(cell.address) as channel:
        await steady.until_resumed()
        call = MessagingServiceStub(channel).Connect(metadata=bearer(token("bob12")))
        await call.write(
            messaging.ConnectRequest(commands=[messaging.Command(command_id=1, hello=messaging.Hello())])
        )
        slow = Ledger("bob12")
        while not any(isinstance(step, Moved) for step in slow.steps):
            take(slow, await call.read())
        large = "y" * 40_000
        sent = [ann.submit(text_message(f"{n} {large}", ["bob12"])) for n in range(250)]
        await ann.settle(*sent)
        await steady.until_events(250)
        while len(slow.events) < 250:
            take(slow, await call.read())
        assert slow.events == steady.ledger.events
        assert slow.gaps == []
        call.cancel()


def take(ledger: Ledger, frame: messaging.ConnectResponse) -> None:
    """Write down what a frame told."""
    for update in frame.updates:
        if update.HasField("event"):
            ledger.add(Told(update.event))
        elif update.HasField("gap"):
            ledger.add(Skipped(update.gap.after, update.gap.until))
        elif update.HasField("resumed"):
            ledger.add(Moved(update.resumed.cursor))


async def test_history_and_stream_agree_when_all_is_quiet(connect: Connect) -> None:
    """After the traffic, snapshot and stream are two views of one thing: nothing after the snapshot's cursor."""
    async with connect("ann8") as ann, connect("bob8") as bob:
        await send_many(ann, "bob8", 50)
        events = await events_at_least(bob, 50)
        assert events == without_marks(await bob.until_events(50))
        snapshot = await bob.history.ListConversations(
            history.ListConversationsRequest(), metadata=bob.metadata
        )
        assert snapshot.conversations[0].unread_count == 50
        assert [item.message for item in await all_messages(bob, with_users("ann8"))] == [
            e.message for e in events
        ]
        async with connect("bob8", resume_after=snapshot.cursor) as client:
            await client.until_resumed()
            assert client.ledger.events == []


async def test_a_cursor_of_another_log_is_a_reset(cell: CellProcess, connect: Connect) -> None:
    """A cursor of a cell that no longer is: RESET, from now on, never a guess."""
    other = CellProcess(cell.folder / "other")
    with other:
        async with PlainClient(other.address, "bob9", token) as bob:
            await bob.send("elsewhere", ["ann9"])
            foreign = bob.cursor
    async with connect("ann9") as ann, connect("bob9") as steady:
        await send_many(ann, "bob9", 3)
        await steady.until_events(3)
        async with connect("bob9", resume_after=foreign) as bob:
            resumed = await bob.until_resumed()
            assert resumed.outcome == messaging.RESUME_OUTCOME_RESET
            new = await ann.send("new", ["bob9"])
            await bob.message("ann9", new.ref.message_id)
            assert message_ids(bob.ledger.events) == [new.ref.message_id]


async def test_a_cursor_past_the_end_is_out_of_range(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cursor that its own log has not reached: the stream ends with OUT_OF_RANGE, and so does ListEvents."""
    folder = tmp_path_factory.mktemp("restored")
    with CellProcess(folder) as cell:
        async with PlainClient(cell.address, "bob", token) as bob:
            await bob.send("kept", ["bob"])
        await asyncio.to_thread(cell.stop)
        cell.copy_data(folder / "copy")
        await asyncio.to_thread(cell.start)
        async with PlainClient(cell.address, "bob", token, resume_after=bob.cursor) as bob:
            lost = await bob.send("lost with the disk", ["bob"])
            assert bob.ledger.events[-1].message == lost
            past = bob.ledger.events[-1].cursor
        cell.kill()
        cell.replace_data(folder / "copy")
        await asyncio.to_thread(cell.start)
        async with PlainClient(cell.address, "bob", token, resume_after=past, reconnects=False) as bob:
            assert await bob.until_ended() == grpc.StatusCode.OUT_OF_RANGE
            request = history.ListEventsRequest(after_cursor=past)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bob.history.ListEvents(request, metadata=bob.metadata)
            assert caught.value.code() == grpc.StatusCode.OUT_OF_RANGE
