"""What only the link over gRPC can meet: bytes from outside, addresses where nobody is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.events import PositionedEvent
from session_link.grpc_link import SERVER_OPTIONS, add_session_link_service, dial
from session_link.port import LinkBroken, LinkClosed, LinkRefused, ServerEnd
from session_link.routed import FromOwner, Routed, to_message

METHOD = "/cell.delivery.v1.SessionLinkService/Link"
RawCall = grpc.aio.StreamStreamCall[bytes, bytes]


@asynccontextmanager
async def serving(serve: Callable[[ServerEnd], Awaitable[object]]) -> AsyncIterator[str]:
    server = grpc.aio.server(options=SERVER_OPTIONS)
    add_session_link_service(server, serve)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def until_closed(end: ServerEnd) -> list[FromOwner]:
    """Everything until the link ends."""
    messages: list[FromOwner] = []
    try:
        while True:
            messages += await end.receive()
    except LinkClosed:
        return messages


async def test_a_frame_that_does_not_parse_ends_the_call_with_invalid_argument() -> None:
    """What came before it is still received; the call's status says what was wrong."""
    received: list[FromOwner] = []

    async def serve(end: ServerEnd) -> None:
        received.extend(await until_closed(end))

    async with serving(serve) as address, grpc.aio.insecure_channel(address) as channel:
        call: RawCall = channel.stream_stream(METHOD)()
        await call.write(link.LinkRequest(messages=[link.OwnerMessage()]).SerializeToString())
        await call.write(b"\xff\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert len(received) == 1


@pytest.mark.parametrize(
    ("refusal", "name"),
    [(LinkRefused("another log"), "FAILED_PRECONDITION"), (LinkBroken("no hello"), "INVALID_ARGUMENT")],
)
async def test_a_refused_link_names_the_reason(refusal: Exception, name: str) -> None:
    """What the serving function raises is the call's status, and the text of LinkClosed at the other end."""

    async def serve(end: ServerEnd) -> None:
        raise refusal

    async with serving(serve) as address:
        owner = await dial(address)
        with pytest.raises(LinkClosed, match=f"{name}: {refusal}"):
            await owner.receive()
        await owner.close()


async def test_dialing_where_nobody_is_raises() -> None:
    """An address that nobody serves is LinkClosed, not a link that waits."""
    async with serving(until_closed) as address:
        pass
    with pytest.raises(LinkClosed, match="UNAVAILABLE"):
        await dial(address)


async def test_an_ordinary_stub_understands_the_frames() -> None:
    """Frames are plain LinkRequest and LinkResponse messages; empty ones and unknown messages are nothing."""

    async def serve(end: ServerEnd) -> None:
        messages = await end.receive()
        assert [to_message(message).WhichOneof("message") for message in messages] == ["claim"]
        end.send([link.ServerMessage(detach=link.Detach(user_number=4))])
        await until_closed(end)

    async with serving(serve) as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=link.LinkRequest.SerializeToString,
            response_deserializer=link.LinkResponse.FromString,
        )()
        await call.write(link.LinkRequest())
        await call.write(link.LinkRequest(messages=[link.OwnerMessage(claim=link.Claim(partition=1))]))
        assert await call.read() == link.LinkResponse(
            messages=[link.ServerMessage(detach=link.Detach(user_number=4))]
        )
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


async def test_nothing_is_queued_once_nothing_can_be_written() -> None:
    """Also while what has arrived lies unread, so that the reader has not come to the end yet."""

    async def serve(end: ServerEnd) -> None:
        for number in range(400):
            notice = link.Detach(partition=number, user_number=number)
            end.send([link.ServerMessage(detach=notice) for _ in range(4_000)])
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    async with serving(serve) as address:
        owner = await dial(address)
        event = PositionedEvent(1, bytes(200_000), 1, b"", "")
        owner.send([Routed(0, event, None) for _ in range(100)])
        await asyncio.sleep(1)
        assert owner.queued_bytes > 0
    while owner.queued_bytes:
        await asyncio.sleep(0.01)
    assert await owner.receive()
    await owner.close()


async def test_the_serving_function_sees_the_end_when_the_dialer_is_killed() -> None:
    """A call that breaks is LinkClosed for whoever serves it, so its sessions can be detached in order."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def serve(end: ServerEnd) -> None:
        began.set()
        await until_closed(end)
        ended.set()

    async with serving(serve) as address:
        channel = grpc.aio.insecure_channel(address)
        call: RawCall = channel.stream_stream(METHOD)()
        await call.wait_for_connection()
        await asyncio.wait_for(began.wait(), 30)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 30)
        await channel.close()
