"""What every link promises, over each kind of link."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpc
import pytest

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.events import PositionedEvent
from session_link.grpc_link import SERVER_OPTIONS, add_session_link_service, dial
from session_link.in_process import in_process_link
from session_link.port import LinkBroken, LinkClosed, OwnerEnd, ServerEnd
from session_link.routed import FromOwner, Routed, to_message

Ends = tuple[OwnerEnd, ServerEnd]
Kind = Callable[[int], AbstractAsyncContextManager[Ends]]
QUEUE_BYTES = 1_000_000


@asynccontextmanager
async def in_process(queue_bytes: int) -> AsyncIterator[Ends]:
    owner, server = in_process_link(queue_bytes)
    yield owner, server
    await owner.close()
    await server.close()


@asynccontextmanager
async def over_grpc(queue_bytes: int) -> AsyncIterator[Ends]:
    accepted: asyncio.Future[ServerEnd] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def serve(end: ServerEnd) -> None:
        accepted.set_result(end)
        await done.wait()

    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_session_link_service(server, serve, queue_bytes=queue_bytes)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    owner = await dial(f"127.0.0.1:{port}", queue_bytes=queue_bytes)
    yield owner, await accepted
    done.set()
    await owner.close()
    await server.stop(0)


@pytest.fixture(params=[in_process, over_grpc], ids=["in process", "gRPC"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def through(offset: int) -> link.OwnerMessage:
    return link.OwnerMessage(through=link.Through(partition=1, offset=offset))


def detach(number: int) -> link.ServerMessage:
    return link.ServerMessage(detach=link.Detach(partition=1, user_number=number))


def large(offset: int) -> Routed:
    return Routed(1, PositionedEvent(offset, bytes(100_000), 1, b"ref", "ann"), (3, 4), "00-hop")


async def rest_of(end: OwnerEnd | ServerEnd) -> list[FromOwner | link.ServerMessage]:
    """Everything until the link ends."""
    messages: list[FromOwner | link.ServerMessage] = []
    try:
        while True:
            messages += await end.receive()
    except LinkClosed:
        return messages


def send_without_end(owner: OwnerEnd) -> None:
    """Send without ever letting the other end take anything."""
    for offset in range(10_000):
        owner.send([large(offset)])


async def room_in(end: OwnerEnd | ServerEnd) -> None:
    """Return when the queue of an end is at most half full; a link has no event for that."""
    while end.queued_bytes > QUEUE_BYTES // 2:
        await asyncio.sleep(0.001)


async def receive_count(end: OwnerEnd | ServerEnd, count: int) -> list[int]:
    """The numbers of the next messages, at least `count`."""
    numbers: list[int] = []
    while len(numbers) < count:
        for message in await end.receive():
            if isinstance(message, link.ServerMessage):
                numbers.append(message.detach.user_number)
            else:
                numbers.append(to_message(message).through.offset)
    return numbers


async def test_order_is_kept_both_ways(kind: Kind) -> None:
    """Messages arrive in the order in which they were sent, whole, each way."""
    async with kind(QUEUE_BYTES) as (owner, server):
        owner.send([through(1), through(2)])
        owner.send([through(3)])
        server.send([detach(7)])
        server.send([detach(8), detach(9)])
        assert await receive_count(server, 3) == [1, 2, 3]
        assert await receive_count(owner, 3) == [7, 8, 9]


async def test_what_one_turn_sends_arrives_together(kind: Kind) -> None:
    """Sends of one turn of the loop travel as one batch, however many they were."""
    async with kind(QUEUE_BYTES) as (owner, server):
        for offset in range(500):
            owner.send([through(offset)])
        assert [to_message(message).through.offset for message in await server.receive()] == list(range(500))


async def test_many_messages_both_ways_at_once(kind: Kind) -> None:
    """Traffic one way never disturbs the other way, and all of it arrives in order."""
    count = 20_000

    async def send_all(send: Callable[[Sequence[int]], None], end: OwnerEnd | ServerEnd) -> None:
        for start in range(0, count, 50):
            await room_in(end)
            send(range(start, start + 50))
            if start % 1_000 == 0:
                await asyncio.sleep(0)

    async with kind(QUEUE_BYTES) as (owner, server):
        work: list[Awaitable[object]] = [
            send_all(lambda numbers: owner.send([through(n) for n in numbers]), owner),
            send_all(lambda numbers: server.send([detach(n) for n in numbers]), server),
            receive_count(server, count),
            receive_count(owner, count),
        ]
        _, _, at_server, at_owner = await asyncio.gather(*work)
    assert at_server == list(range(count))
    assert at_owner == list(range(count))


async def test_large_messages_pass(kind: Kind) -> None:
    """Messages of many kilobytes, more than one frame holds, arrive whole."""
    async with kind(QUEUE_BYTES * 2) as (owner, server):
        owner.send([large(offset) for offset in range(12)])
        received: list[object] = []
        while len(received) < 12:
            received += await server.receive()
        assert received == [large(offset) for offset in range(12)]


@pytest.mark.parametrize("closing", ["owner", "server"])
async def test_end_from_either_side_comes_after_what_was_sent(kind: Kind, closing: str) -> None:
    """Whichever side closes, the other receives all that was sent before, then LinkClosed."""
    async with kind(QUEUE_BYTES) as (owner, server):
        if closing == "owner":
            owner.send([through(offset) for offset in range(1_000)])
            await owner.close()
            assert len(await rest_of(server)) == 1_000
        else:
            server.send([detach(number) for number in range(1_000)])
            await server.close()
            assert len(await rest_of(owner)) == 1_000
        with pytest.raises(LinkClosed):
            owner.send([through(1)])
        with pytest.raises(LinkClosed):
            server.send([detach(1)])


async def test_receive_into_takes_everything_in_order(kind: Kind) -> None:
    """What arrived before and after `receive_into` is given in order, each message once, until the end is raised."""
    async with kind(QUEUE_BYTES) as (owner, server):
        taken: list[int] = []

        def take(messages: Sequence[FromOwner]) -> None:
            taken.extend(to_message(message).through.offset for message in messages)

        owner.send([through(1), through(2)])
        taking = asyncio.ensure_future(server.receive_into(take))
        for offset in range(3, 100):
            owner.send([through(offset)])
            await asyncio.sleep(0)
        await room_in(owner)
        await owner.close()
        with pytest.raises(LinkClosed):
            await taking
        assert taken == list(range(1, 100))


async def test_what_take_raises_is_raised_by_receive_into(kind: Kind) -> None:
    """Whoever sends is not told what the taker raised: `receive_into` raises it, and takes nothing more."""
    async with kind(QUEUE_BYTES) as (owner, server):
        calls = 0

        def take(messages: Sequence[FromOwner]) -> None:
            nonlocal calls
            calls += 1
            raise LinkBroken("not this")

        taking = asyncio.ensure_future(server.receive_into(take))
        await asyncio.sleep(0)
        owner.send([through(1)])
        owner.send([through(2)])
        with pytest.raises(LinkBroken):
            await taking
        assert calls == 1


async def test_the_closing_end_is_closed(kind: Kind) -> None:
    """After close, sending and receiving raise LinkClosed, and closing again is harmless."""
    async with kind(QUEUE_BYTES) as (owner, _):
        await owner.close()
        await owner.close()
        with pytest.raises(LinkClosed):
            owner.send([through(1)])
        with pytest.raises(LinkClosed):
            await owner.receive()


async def test_a_waiting_receiver_learns_of_the_end(kind: Kind) -> None:
    """Receive that waits when the link ends raises LinkClosed; cancelling a receive before loses nothing."""
    async with kind(QUEUE_BYTES) as (owner, server):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(server.receive(), 0.05)
        owner.send([through(5)])
        assert await receive_count(server, 1) == [5]
        waiting = asyncio.ensure_future(server.receive())
        await asyncio.sleep(0.05)
        await owner.close()
        with pytest.raises(LinkClosed):
            await waiting


async def test_a_queue_past_its_bound_ends_the_link(kind: Kind) -> None:
    """An end that nobody receives from cannot make the other grow: past the bound the link ends, for both."""
    async with kind(QUEUE_BYTES) as (owner, server):
        with pytest.raises(LinkClosed):
            send_without_end(owner)
        assert owner.queued_bytes <= QUEUE_BYTES + len(large(0).event.piece) * 2
        await rest_of(server)
        await rest_of(owner)


async def test_nothing_is_queued_once_the_link_has_ended(kind: Kind) -> None:
    """Whoever waits for room does not wait for ever: what an ended link has not taken counts no more."""
    async with kind(QUEUE_BYTES * 100) as (owner, server):
        owner.send([large(offset) for offset in range(200)])
        await asyncio.sleep(0.05)
        assert owner.queued_bytes > QUEUE_BYTES
        await server.close()
        await room_in(owner)
        assert owner.queued_bytes == 0
        with pytest.raises(LinkClosed):
            await owner.receive()


async def test_queued_bytes_falls_as_the_other_end_takes(kind: Kind) -> None:
    """What the other end has taken no longer counts, so a patient sender never meets the bound."""
    async with kind(QUEUE_BYTES) as (owner, server):
        received = asyncio.ensure_future(rest_of(server))
        for offset in range(100):
            owner.send([large(offset)])
            await room_in(owner)
        await owner.close()
        assert len(await received) == 100
