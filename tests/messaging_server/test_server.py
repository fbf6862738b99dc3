"""The server as a whole: links, limits of streams, drain, and what a pause of the process does."""

import asyncio
from dataclasses import replace

import grpc
import pytest

from cell.delivery.v1 import session_link_pb2 as link
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.clock import passing_s
from messaging_core.events import PositionedEvent
from messaging_core.limits import Limits
from messaging_server import server
from session_link.in_process import in_process_link
from session_link.port import LinkBroken, LinkRefused
from session_link.routed import Routed
from tests.messaging_server.memory_cell import Client, link_owner, running_cell, text_message

CODE = grpc.StatusCode


async def test_drain_tells_everyone_to_leave_and_lets_commands_finish() -> None:
    """New streams are refused, GoAway{DRAIN} reaches each, a command in flight gets its outcome, then streams end."""
    async with running_cell(drain_s=0.5, drain_grace_s=0.5) as cell, cell.channel() as channel:
        clients = [Client(channel, name) for name in ("alice", "bob", "carol")]
        for client in clients:
            await client.connect()
        await clients[0].message("bob", "x", "m0")
        cell.log.held = True
        (in_flight,) = await clients[0].send(text_message("bob", "last", "m1"))
        draining = asyncio.create_task(cell.server.drain())
        for client in clients:
            go_away = (await client.until("go_away")).go_away
            assert go_away.reason == messaging.GO_AWAY_REASON_DRAIN
            assert go_away.reconnect_after.ToTimedelta().total_seconds() <= 0.003, (
                "three streams crowd nobody"
            )
        late = Client(channel, "dave")
        late.call = late.stub.Connect(metadata=late.metadata)
        assert (await late.ended()).code() == CODE.UNAVAILABLE
        assert not cell.server.ready
        assert (await clients[2].ended()).code() == CODE.UNAVAILABLE
        cell.log.let_go()
        assert (await clients[0].outcome(in_flight)).HasField("accepted")
        assert (await clients[0].ended()).code() == CODE.UNAVAILABLE
        await draining
        assert cell.server.stream_count == 0


async def test_streams_of_a_user_and_of_a_server_are_limited() -> None:
    """One stream more than a user or the server may have is refused with RESOURCE_EXHAUSTED; a closed one makes room."""
    async with running_cell(max_streams_per_user=1, max_streams=2) as cell, cell.channel() as channel:
        first, second, bob, carol = (Client(channel, name) for name in ("alice", "alice", "bob", "carol"))
        await first.connect()
        second.call = second.stub.Connect(metadata=second.metadata)
        assert (await second.ended()).code() == CODE.RESOURCE_EXHAUSTED
        await bob.connect()
        carol.call = carol.stub.Connect(metadata=carol.metadata)
        assert (await carol.ended()).code() == CODE.RESOURCE_EXHAUSTED
        first.call.cancel()
        async with asyncio.timeout(10):
            while cell.server.stream_count > 1:
                await asyncio.sleep(0.05)
        await carol.connect()


async def test_a_takeover_moves_every_session() -> None:
    """When the owner's link ends sessions wait; the next owner gets them all, and nothing is lost or shown twice."""
    async with running_cell(owner=False) as cell, cell.channel() as channel:
        alice, bob = Client(channel, "alice"), Client(channel, "bob")
        async with link_owner(cell) as first:
            await cell.server.wait_ready()
            assert cell.server.ready
            await alice.connect()
            await bob.connect()
            await alice.message("bob", "0", "m0")
            assert (await bob.event()).message.ref.message_id == "m0"
        assert first.attaches
        await alice.message("bob", "1", "m1")
        async with link_owner(cell, instance="second", generation=2, positions=first.positions):
            await alice.message("bob", "2", "m2")
            assert [(await bob.event()).message.ref.message_id for _ in range(2)] == ["m1", "m2"]


async def test_a_process_that_stood_still_takes_nothing_old() -> None:
    """After a pause longer than D streams end before their commands are taken, and calls are refused for a moment (R3)."""
    async with running_cell() as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        await alice.connect()
        await alice.message("bob", "x", "m0")
        records = sum(map(len, cell.log.records))
        now_s = cell.server.now_s
        cell.server.now_s = lambda: now_s() + 20
        await alice.send(text_message("bob", "old", "m1"))
        assert (await alice.ended()).code() == CODE.UNAVAILABLE
        assert sum(map(len, cell.log.records)) == records
        send = messaging.SendMessageRequest(send_message=text_message("bob", "x", "m2").send_message)
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await alice.stub.SendMessage(send, metadata=alice.metadata)
        async with asyncio.timeout(20):
            while True:
                try:
                    await alice.stub.SendMessage(send, metadata=alice.metadata)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.2)


async def test_a_machine_that_slept_takes_nothing_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleep is a pause too, although the monotonic clock stands still in it: what was sent before it is not taken (R3)."""
    slept_s = 0
    monkeypatch.setattr(server, "passing_s", lambda: passing_s() + slept_s)
    async with running_cell() as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        await alice.connect()
        await alice.message("bob", "x", "m0")
        records = sum(map(len, cell.log.records))
        slept_s = 300
        await alice.send(text_message("bob", "old", "m1"))
        assert (await alice.ended()).code() == CODE.UNAVAILABLE
        assert sum(map(len, cell.log.records)) == records


async def test_settings_are_told_as_they_are() -> None:
    """What Welcome says is what the server was set to."""
    limits = replace(Limits(), max_recipients=7)
    async with running_cell(limits=limits) as cell, cell.channel() as channel:
        assert (await Client(channel, "alice").connect()).limits.max_recipients == 7


def link_hello(**changes: object) -> link.OwnerMessage:
    fields: dict[str, object] = {"instance_id": "o", "log_incarnation": "log-1", "partition_count": 4}
    return link.OwnerMessage(hello=link.LinkHello(**fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ([link_hello(log_incarnation="another")], LinkRefused),
        ([link_hello(partition_count=5)], LinkRefused),
        ([link.OwnerMessage(claim=link.Claim())], LinkBroken),
        ([link_hello(), link_hello()], LinkBroken),
        ([link_hello(), link.OwnerMessage(claim=link.Claim(partition=4))], LinkBroken),
        ([link_hello(), link.OwnerMessage(release=link.Release(partition=4))], LinkBroken),
    ],
)
async def test_a_link_that_does_not_fit_is_refused(
    messages: list[link.OwnerMessage], error: type[Exception]
) -> None:
    """An owner of another log, and one that breaks the order of messages, is told so; the server goes on."""
    async with running_cell() as cell:
        owner_end, server_end = in_process_link()
        owner_end.send(messages)
        with pytest.raises(error):
            await cell.server.serve_link(server_end)
        await cell.server.wait_ready()


async def test_messages_about_unknown_partitions_and_sessions_are_skipped() -> None:
    """What an owner says of nobody here changes nothing."""
    async with running_cell(owner=False) as cell, cell.channel() as channel, link_owner(cell) as owner:
        alice = Client(channel, "alice")
        await alice.connect()
        event = PositionedEvent(5, b"x", 0, b"", "")
        owner.end.send(
            [
                link.OwnerMessage(),
                Routed(9, event, None),
                Routed(0, event, [12345]),
                link.OwnerMessage(through=link.Through(partition=9)),
                link.OwnerMessage(attach_reply=link.AttachReply(session_number=77)),
                link.OwnerMessage(conflict_notice=link.ConflictNotice(user_number=77)),
            ]
        )
        await alice.message("bob", "x", "m")
        assert (await alice.event()).message.ref.message_id == "m"


async def test_a_link_of_the_same_instance_replaces_the_older() -> None:
    """The older link is ended at once, and sessions attach to the newer (R7)."""
    async with running_cell(owner=False) as cell, cell.channel() as channel:
        alice = Client(channel, "alice")
        async with link_owner(cell) as first:
            await alice.connect()
            await alice.message("bob", "x", "m0")
            await alice.event()
            async with link_owner(cell, generation=1, positions=first.positions) as second:
                await alice.message("bob", "y", "m1")
                assert (await alice.event()).message.ref.message_id == "m1"
                assert second.attaches
