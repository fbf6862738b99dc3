"""TCP proxies that stand for the network between two parts: they cut it, hold it up, slow it down, and mend it.

All proxies of a run live in one thread with an event loop of its own, so that nothing else that happens holds them up.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 10.0


class Proxy:
    """One port that leads to another. Made by `Network.proxy`; its methods may be called from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: tuple[str, int]) -> None:
        self.port = 0
        self._loop = loop
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.WriteTransport] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._cut = False
        self._delay_s = 0.0
        self._bytes_per_s = 0.0

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End every connection, and refuse new ones, until mended."""
        self._call(self._do_cut)

    def hold(self) -> None:
        """Let nothing through, as a network that loses every packet; it is delivered when mended."""
        self._call(self._flows.clear)

    def slow(self, delay_s: float, bytes_per_s: float) -> None:
        """Hold up each piece by this long, and let no more than so much through, each way of each connection."""
        self._delay_s, self._bytes_per_s = delay_s, bytes_per_s

    def mend(self) -> None:
        """All is well again."""
        self._cut, self._delay_s, self._bytes_per_s = False, 0.0, 0.0
        self._call(self._flows.set)

    def _call(self, what: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(what)

    def _do_cut(self) -> None:
        self._cut = True
        for transport in list(self._connections):
            transport.abort()

    async def listen(self, port: int) -> None:
        """Begin; for `Network`."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End; for `Network`."""
        assert self._server is not None
        self._server.close()
        self._do_cut()
        self._flows.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer.transport)
        try:
            await self._flows.wait()
            if not self._cut:
                await self._join(reader, writer)
        except OSError:
            pass  # whoever is behind is not there: whoever came is told by the end of the connection
        finally:
            writer.transport.abort()
            self._connections.discard(writer.transport)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(*self._target)
        self._connections.add(other_writer.transport)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, other_writer))
                both.create_task(self._pump(other_reader, writer))
        finally:
            other_writer.transport.abort()
            self._connections.discard(other_writer.transport)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s + len(data) / self._bytes_per_s)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
            return
        writer.transport.abort()  # a connection that broke on one side breaks on the other


class Network:
    """The thread of all proxies. `with` ends it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()

    def proxy(self, target: str, port: int = 0) -> Proxy:
        """A new one, which leads to `host:port`; on a free port unless one is given."""
        host, _, target_port = target.rpartition(":")
        made = Proxy(self._loop, (host, int(target_port)))
        asyncio.run_coroutine_threadsafe(made.listen(port), self._loop).result(_TIMEOUT_S)
        self._proxies.append(made)
        return made

    async def _close(self) -> None:
        for proxy in self._proxies:
            await proxy.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
