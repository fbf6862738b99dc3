import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from check.grpc_stream import MAX_MESSAGE_BYTES, GrpcStream

METHOD = "/check.Test/Stream"
TOKEN = "t" * 300


class _Handler(grpc.GenericRpcHandler):
    """Sends every message back, and the call's metadata first; ends the call after an empty message."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._run) if details.method == METHOD else None

    async def _run(self, _: AsyncIterator[bytes], context: Any) -> None:
        await context.write(dict(context.invocation_metadata())["authorization"].encode())
        while (message := await context.read()) is not grpc.aio.EOF and message:
            await context.write(message)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


class _Caller:
    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.reasons: list[str] = []
        self.changed = asyncio.Event()
        self.stream = GrpcStream(METHOD, {"authorization": TOKEN}, self._take, self._end)

    def _take(self, message: bytes) -> None:
        self.messages.append(message)
        self.changed.set()

    def _end(self, reason: str) -> None:
        self.reasons.append(reason)
        self.changed.set()

    async def open(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self.stream, "127.0.0.1", port)
        await self.until(1)

    async def until(self, count: int) -> None:
        while len(self.messages) < count and not self.reasons:
            self.changed.clear()
            await self.changed.wait()


async def test_messages_come_back_whole_and_in_order_beyond_what_the_server_has_room_for(port: int) -> None:
    """A grpcio server takes the call's metadata and megabytes of messages of all sizes, and they come back."""
    caller = _Caller()
    await caller.open(port)
    assert caller.messages == [TOKEN.encode()]
    sent = [bytes((i,)) * size for i, size in enumerate((1, 127, 9_000, MAX_MESSAGE_BYTES) * 50)]
    for message in sent:
        caller.stream.send(message)
    await caller.until(1 + len(sent))
    assert caller.messages[1:] == sent
    assert not caller.reasons
    caller.stream.close()


async def test_a_call_that_the_server_ends_is_told(port: int) -> None:
    """The end of a call that nobody asked for reaches the caller, once."""
    caller = _Caller()
    await caller.open(port)
    caller.stream.send(b"")
    await caller.until(2)
    assert len(caller.reasons) == 1
    assert "grpc-status" in caller.reasons[0]
    caller.stream.close()


async def test_what_is_sent_on_a_closed_stream_goes_nowhere(port: int) -> None:
    """Whether it was never connected, is closed or was lost: nothing is raised where many streams are looked after."""
    caller = _Caller()
    caller.stream.send(b"too early")
    caller.stream.close()
    other = _Caller()
    await other.open(port)
    other.stream.close()
    other.stream.send(b"too late")
    await asyncio.sleep(0.05)
    other.stream.send(b"later still")
    assert not caller.reasons + other.reasons


async def test_a_connection_that_nobody_takes_from_is_aborted() -> None:
    """An attempt that is given up lets its socket go at once, though what it has sent is not taken."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        caller = _Caller()
        transport, _ = await loop.create_connection(lambda: caller.stream, *silent.getsockname())
        while not transport.get_write_buffer_size():  # until no more of it fits into anything
            caller.stream._transport.write(bytes(1 << 20))
        opened = transport.get_extra_info("socket")
        caller.stream.abort()
        while opened.fileno() != -1:
            await asyncio.sleep(0.01)
    assert not caller.reasons
