"""Commands that meet a cell of which a part is full, away or behind, and commands that go to two servers.

The parts are those of `cell run`, in this process; clients are plain ones, over gRPC.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from check.calls import eventually
from check.history_pages import all_messages, events_at_least, messages_at_least, with_users
from check.ledger import message_ids
from check.plain_client import PlainClient
from check.plain_outbox import new_id, text_message
from event_log import embedded_writer
from messaging_core.clock import steady_us
from messaging_core.ids import conversation_id
from messaging_core.limits import DEDUP_WINDOW_S
from tests.system.wrong_use import situations
from tests.system.wrong_use.commands import ref
from tests.system.wrong_use.servers import Servers, running_servers

pytestmark = pytest.mark.timeout(180)

WAYS = ["Connect", "Execute", "SendMessage"]
BIG = "x" * 60_000


@pytest.fixture
async def cell(tmp_path: Path) -> AsyncIterator[Servers]:
    async with running_servers(tmp_path) as running:
        yield running


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Servers]:
    async with running_servers(tmp_path, 2) as running:
        yield running


async def refused(
    client: PlainClient, command: messaging.Command, way: str, answer: situations.Situation
) -> None:
    """The command gets this answer, once, whichever way it is said."""
    if way == "SendMessage":
        request = messaging.SendMessageRequest(send_message=command.send_message)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.messaging.SendMessage(request, metadata=client.metadata)
        answer.answer.check_error(caught.value)
    elif way == "Execute":
        numbered = messaging.Command()
        numbered.CopyFrom(command)
        numbered.command_id = 1
        request_ = messaging.ExecuteRequest(commands=[numbered])
        (outcome,) = (await client.messaging.Execute(request_, metadata=client.metadata)).outcomes
        answer.answer.check_rejected(outcome.rejected)
    else:
        submission = client.submit(command)
        await client.until(lambda: bool(submission.rejections), "a refusal")
        answer.answer.check_rejected(submission.rejections[0])


@pytest.mark.parametrize("way", WAYS)
async def test_a_full_disk_of_the_log_refuses_and_nothing_else_is_lost(
    cell: Servers, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """What finds no room is not done, and says when to try again; streams live; with room the same id is done, once."""
    async with cell.client("ann") as ann, cell.client("bob") as bob:
        before = await ann.send("before", ["bob"])
        command = text_message(BIG, ["bob"])
        with cell.full_log(monkeypatch):
            await refused(ann, command, way, situations.LOG_FULL)
            await refused(ann, text_message("small", ["bob"], "small"), way, situations.LOG_FULL)
            await bob.done(messaging.Command(ping=messaging.Ping()))
            assert len(await events_at_least(ann, 1)) == 1
            assert len(ann.ledger.events) == 1
        await ann.done(text_message(BIG, ["bob"], command.send_message.message_id))
        after = await ann.send("after", ["bob"])
        wanted = [before.ref.message_id, command.send_message.message_id, after.ref.message_id]
        if way == "Connect":  # where the client itself tried again, in its own time
            await ann.message("ann", "small")
            wanted.insert(2, "small")
        await bob.until_events(len(wanted))
        for client in (ann, bob):
            assert sorted(message_ids(client.ledger.events)) == sorted(wanted)
            assert (client.streams, client.strays) == (1, [])
        assert sorted(message_ids(await events_at_least(bob, len(wanted)))) == sorted(wanted)


async def test_a_full_disk_of_history_takes_nothing_away(
    cell: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages are accepted and delivered all the same; history lags, says how far it is, and catches up with room."""
    async with cell.client("ann") as ann, cell.client("bob") as bob:
        first = await ann.send("first", ["bob"])
        name = with_users("ann", "bob")
        await messages_at_least(ann, name, 1)
        async with cell.full_store():
            sent = [first, *[await ann.send(BIG, ["bob"]) for _ in range(5)]]
            await bob.until_events(6)

            async def has_failed() -> bool:
                return "records cannot be stored now" in caplog.text

            await eventually(has_failed, "a write without room")
            assert len(await all_messages(bob, name)) < 6
            page = await bob.history.ListEvents(history.ListEventsRequest(), metadata=bob.metadata)
            assert page.persisted_cursor != bob.ledger.events[-1].cursor
        stored = await messages_at_least(bob, name, 6)
        assert [each.message for each in stored] == sent
        assert (ann.streams, bob.streams) == (1, 1)


@pytest.mark.parametrize("way", ["Connect", "Execute"])
async def test_reactions_and_marks_while_history_is_down(cell: Servers, way: str) -> None:
    """Where the conversation is known they are done; where it must be looked up they are not, until history is back."""
    async with cell.client("ann") as ann, cell.client("bob") as bob, cell.client("eve") as eve:
        message = await ann.send("known", ["bob"])
        await bob.message("ann", message.ref.message_id)
        hidden = await bob.send("of an earlier life", ["ann", "carol"])
        transport = "connect" if way == "Connect" else "subscribe"
        await messages_at_least(bob, with_users("ann", "bob", "carol"), 1)
        async with cell.client("bob", transport=transport) as speaker:
            await speaker.until_resumed()
            cell.store.away = True
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await bob.history.ListEvents(history.ListEventsRequest(), metadata=bob.metadata)
            situations.REGISTRY_AWAY.answer.check_error(caught.value)
            for command in _about(message.ref):
                await speaker.done(command)
            forgotten = ref(conversation_id=conversation_id(["bob", "dave"]), sender_id="dave")
            for about in (forgotten, ref()):
                for command in _about(about):
                    await refused(bob, command, "Execute", situations.REGISTRY_AWAY)
            for command in _about(hidden.ref):  # eve may not tell what the server knows from what it does not
                await refused(eve, command, "Execute", situations.REGISTRY_AWAY)
            cell.store.away = False
            await speaker.done(_about(hidden.ref)[0])
        await ann.until(lambda: len(ann.ledger.events) >= 5, "reaction, its end, mark, and a reaction")
        assert (ann.streams, bob.streams) == (1, 1)


async def test_reactions_and_marks_on_what_history_does_not_have_yet(cell: Servers) -> None:
    """They need no message to be stored: done at once, and there when history has caught up."""
    async with cell.client("ann") as ann, cell.client("bob") as bob:
        await ann.send("known", ["bob"])
        async with cell.full_store():
            late = await ann.send(BIG, ["bob"])
            await bob.message("ann", late.ref.message_id)
            react = messaging.React(reaction_id=new_id(), message=late.ref, key="👍")
            await bob.done(messaging.Command(react=react))
            await bob.done(messaging.Command(mark_read=messaging.MarkRead(through=late.ref)))
        (_, stored) = await messages_at_least(ann, with_users("bob"), 2)

        async def is_there() -> bool:
            nonlocal stored
            (_, stored) = await all_messages(ann, with_users("bob"))
            return len(stored.reactions) > 0

        await eventually(is_there, "the reaction")
        request = history.GetConversationRequest(conversation=with_users("ann"))

        async def is_read() -> bool:
            shown = await bob.history.GetConversation(request, metadata=bob.metadata)
            return bool(shown.conversation.read_through == late.ref)

        await eventually(is_read, "the read mark")


async def test_a_reaction_to_what_does_not_exist_is_about_nothing(cell: Servers) -> None:
    """In a conversation of one's own it is done and told, and shows nowhere; the messages are as they were."""
    async with cell.client("ann") as ann, cell.client("bob") as bob:
        message = await ann.send("there", ["bob"])
        await bob.message("ann", message.ref.message_id)
        nothing = messaging.MessageRef()
        nothing.CopyFrom(message.ref)
        nothing.message_id = "nothing"
        await bob.done(messaging.Command(react=messaging.React(reaction_id="r", message=nothing, key="👍")))
        await ann.until_events(2)
        assert ann.ledger.events[1].reaction_changed.message == nothing
        await events_at_least(ann, 2)
        (stored,) = await all_messages(ann, with_users("bob"))
        assert (stored.message, len(stored.reactions)) == (message, 0)
        found = await ann.history.GetMessages(
            history.GetMessagesRequest(messages=[nothing]), metadata=ann.metadata
        )
        assert list(found.messages) == []


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_again_through_another_server_is_the_same(two: Servers, way: str) -> None:
    """It is accepted there too, and is one message, for everyone and in history."""
    async with two.client("ann") as ann, two.client("ann", 1) as other, two.client("bob", 1) as bob:
        first = await ann.send("once", ["bob"], "one-id")
        again = text_message("once", ["bob"], "one-id")
        if way == "SendMessage":
            request = messaging.SendMessageRequest(send_message=again.send_message)
            await other.messaging.SendMessage(request, metadata=other.metadata)
        else:
            async with two.client(
                "ann", 1, transport="connect" if way == "Connect" else "subscribe"
            ) as speaker:
                await speaker.done(again)
        fence = await other.send("fence", ["bob"])
        for reader in (ann, other, bob):
            await reader.message("ann", fence.ref.message_id)
            assert [event.message for event in reader.ledger.events] == [first, fence]
            assert reader.conflicts == []
        assert len(await events_at_least(bob, 2)) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_another_payload_through_another_server_is_told_when_the_log_is_read(
    two: Servers, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The first in the log stands for everyone; the sender's streams are told of the conflict, by its id."""
    async with two.client("ann") as ann, two.client("ann", 1) as other, two.client("bob", 1) as bob:
        first = await ann.send("first", ["bob"], "one-id")
        second = text_message("second", ["bob"], "one-id")
        if way == "SendMessage":
            request = messaging.SendMessageRequest(send_message=second.send_message)
            await other.messaging.SendMessage(request, metadata=other.metadata)
        elif way == "Execute":
            second.command_id = 1
            request_ = messaging.ExecuteRequest(commands=[second])
            (outcome,) = (await other.messaging.Execute(request_, metadata=other.metadata)).outcomes
            assert outcome.HasField("accepted")
        else:
            await other.done(second)
        for stream in (ann, other):
            await stream.until(lambda stream=stream: bool(stream.conflicts), "the conflict")  # type: ignore[misc]
            (conflict,) = stream.conflicts
            situations.OTHER_SERVER.answer.check_rejected(conflict)
            assert (conflict.command_id, conflict.message_id) == (0, "one-id")
        fence = await other.send("fence", ["bob"])
        for reader in (ann, other, bob):
            await reader.message("ann", fence.ref.message_id)
            assert [event.message for event in reader.ledger.events] == [first, fence]
        assert bob.conflicts == []
        assert len(await events_at_least(bob, 2)) == 2


async def test_a_retry_later_than_the_window_is_a_new_message(
    two: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell cannot know that it was meant as a retry: it is there twice. So a client resumes first (R3)."""
    async with two.client("ann") as ann, two.client("ann", 1) as other, two.client("bob") as bob:
        first = await ann.send("again", ["bob"], "one-id")
        within = int((DEDUP_WINDOW_S - 5) * 1e6)
        beyond = int((DEDUP_WINDOW_S + 5) * 1e6)
        for later_us, count in ((within, 1), (within + beyond, 2)):
            monkeypatch.setattr(embedded_writer, "steady_us", lambda: steady_us() + later_us)  # noqa: B023
            await other.done(text_message("again", ["bob"], "one-id"))
            fence = await other.send("fence", ["bob"])
            await bob.message("ann", fence.ref.message_id)
            assert message_ids(bob.ledger.events).count("one-id") == count
        last = [event.message for event in bob.ledger.events if event.message.ref.message_id == "one-id"][-1]
        assert last.ref.sent_at.ToNanoseconds() > first.ref.sent_at.ToNanoseconds()
        stored = await events_at_least(bob, 4)
        assert message_ids(stored).count("one-id") == 2
        await asyncio.sleep(0)


def _about(about: messaging.MessageRef) -> list[messaging.Command]:
    """One command of each kind that names a message."""
    return [
        messaging.Command(react=messaging.React(reaction_id=new_id(), message=about, key="👍")),
        messaging.Command(unreact=messaging.Unreact(reaction_id=new_id(), message=about, key="👍")),
        messaging.Command(mark_read=messaging.MarkRead(through=about)),
    ]
