"""A proxy stands for a network that breaks: what it does to those who talk through it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from check.faults.proxy import Network, Proxy


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as opened:
        yield opened


@asynccontextmanager
async def echo(network: Network) -> AsyncIterator[Proxy]:
    """A proxy to a server that says everything again."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    try:
        yield await asyncio.to_thread(network.proxy, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


class Ends:
    """The near ends of connections, closed when the test is over."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def __call__(self, proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def connect() -> AsyncIterator[Ends]:
    ends = Ends()
    yield ends
    for writer in ends.writers:
        writer.transport.abort()
    await asyncio.sleep(0)


async def hears(reader: asyncio.StreamReader, data: bytes) -> None:
    async with asyncio.timeout(20):
        assert await reader.readexactly(len(data)) == data


async def is_over(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(20):
        try:
            return await reader.read(1) == b""
        except OSError:
            return True


async def test_it_carries_everything_in_order(network: Network, connect: Ends) -> None:
    """Megabytes go there and come back, and the end of one side is told to the other."""
    async with echo(network) as proxy:
        reader, writer = await connect(proxy)
        data = bytes(range(256)) * 20_000
        writer.write(data)
        await hears(reader, data)
        writer.write_eof()
        assert await is_over(reader)


async def test_a_cut_ends_connections_and_refuses_new_ones(network: Network, connect: Ends) -> None:
    """Until it is mended; then new ones work."""
    async with echo(network) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        await hears(reader, b"a")
        proxy.cut()
        assert await is_over(reader)
        refused, _ = await connect(proxy)
        assert await is_over(refused)
        proxy.mend()
        reader, writer = await connect(proxy)
        writer.write(b"b")
        await hears(reader, b"b")


async def test_what_is_held_comes_when_it_is_mended(network: Network, connect: Ends) -> None:
    """Nothing gets through and nothing is lost; a connection that is made meanwhile works then, too."""
    async with echo(network) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        await hears(reader, b"a")
        proxy.hold()
        await asyncio.sleep(0.1)
        writer.write(b"later")
        other_reader, other_writer = await connect(proxy)
        other_writer.write(b"new")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.read(1)
        proxy.mend()
        await hears(reader, b"later")
        await hears(other_reader, b"new")


async def test_a_slow_network_takes_its_time(network: Network, connect: Ends) -> None:
    """Each piece is held up, both ways."""
    async with echo(network) as proxy:
        reader, writer = await connect(proxy)
        proxy.slow(0.2, 1e6)
        start_s = time.monotonic()
        writer.write(b"a")
        await hears(reader, b"a")
        assert time.monotonic() - start_s >= 0.4
        proxy.mend()
        writer.write(b"b")
        await hears(reader, b"b")


async def test_nobody_behind_it_is_a_connection_that_ends(network: Network, connect: Ends) -> None:
    """As from a port where nobody listens."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    proxy = await asyncio.to_thread(network.proxy, target)
    reader, _ = await connect(proxy)
    assert await is_over(reader)
