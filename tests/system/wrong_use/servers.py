"""A whole cell in this process, of the parts that `cell run` puts together, with as many servers as wanted.

So that a test can fill a disk or take history away, which nothing from outside can do to a process without being root.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from check.plain_client import PlainClient
from delivery_service.service import DeliveryService, DeliverySettings, LinkTarget
from event_log.embedded import EmbeddedLog
from history_service.api import HistoryApi
from history_service.consumer import HistoryConsumer
from history_service.embedded import EmbeddedStore
from history_service.port import StoreUnavailable
from history_service.readers import StoredEvents, StoredRegistry
from history_service.settings import HistorySettings
from messaging_cell.access_tokens import verifier
from messaging_cell.settings import Settings
from messaging_core.sqlite import Reserve
from messaging_server.server import MessagingServer
from messaging_server.settings import ServerSettings
from session_link.in_process import in_process_link
from session_link.port import OwnerEnd
from tests.system.cell_process import SECRET, token

_ALL_THE_ROOM = 1 << 30


class Store(EmbeddedStore):
    """The embedded store, which can be away."""

    away = False

    def __getattribute__(self, name: str) -> Any:
        if name in _CALLS and super().__getattribute__("away"):
            raise StoreUnavailable("away")
        return super().__getattribute__(name)


_CALLS = frozenset(
    (
        "write",
        "register",
        "participants",
        "persisted",
        "events",
        "messages",
        "named_messages",
        "overviews",
        "overview",
    )
)


@dataclass(slots=True)
class Servers:
    """The parts of a running cell, and where its servers listen."""

    log: EmbeddedLog
    store: Store
    servers: list[MessagingServer]
    addresses: list[str]

    def client(self, user_id: str, server: int = 0, **options: Any) -> PlainClient:
        """A client of one of the servers."""
        return PlainClient(self.addresses[server], user_id, token, **options)

    @contextmanager
    def full_log(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The log finds no room for more than a few pages, nor for its reserve."""
        connection = self.log._writer._connection
        restore = Reserve.restore
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()
        monkeypatch.setattr(Reserve, "restore", lambda reserve: False)
        try:
            yield
        finally:
            monkeypatch.setattr(Reserve, "restore", restore)
            connection.execute(f"PRAGMA max_page_count = {_ALL_THE_ROOM}").fetchall()

    @asynccontextmanager
    async def full_store(self) -> AsyncIterator[None]:
        """The store finds no room for more than a few pages."""
        await self._give_store("(SELECT page_count + 2 FROM pragma_page_count)")
        try:
            yield
        finally:
            await self._give_store(str(_ALL_THE_ROOM))

    async def _give_store(self, pages: str) -> None:
        def give(connection: Any) -> None:
            (count,) = connection.execute(f"SELECT {pages}").fetchone()
            connection.execute(f"PRAGMA max_page_count = {count}").fetchall()

        await self.store._writer.run(give)


@asynccontextmanager
async def running_servers(folder: Path, count: int = 1, **settings: Any) -> AsyncIterator[Servers]:
    """Log, history and delivery once, and servers that each have a link and a port of their own."""
    async with AsyncExitStack() as parts:
        log = await EmbeddedLog.open(folder / "log", 4)
        parts.push_async_callback(log.close)
        store = await Store.open(folder / "history")
        parts.push_async_callback(store.close)
        history_settings = HistorySettings(retry_max_s=0.2)
        consumer = HistoryConsumer(log, store, history_settings)
        await consumer.start()
        parts.push_async_callback(consumer.close)
        cell = Servers(log, store, [], [])
        authenticator = verifier(Settings(data_folder=folder, jwt_secret=SECRET))
        ports = []
        for number in range(count):
            port = grpc.aio.server()
            cell.addresses.append(f"127.0.0.1:{port.add_insecure_port('127.0.0.1:0')}")
            HistoryApi(store, log, authenticator, history_settings).add_to(port)
            server = MessagingServer(
                log=log,
                history=StoredEvents(store, log.incarnation),
                registry=StoredRegistry(store),
                authenticator=authenticator,
                settings=ServerSettings(server_id=f"server-{number}", **settings),
            )
            server.add_to(port)
            parts.push_async_callback(port.stop, None)
            parts.push_async_callback(server.close)
            cell.servers.append(server)
            ports.append(port)
        links: set[asyncio.Task[None]] = set()
        parts.push_async_callback(_ended, links)
        delivery = DeliveryService(
            log=log,
            targets=[LinkTarget(str(n), _dial(server, links)) for n, server in enumerate(cell.servers)],
            settings=DeliverySettings(),
        )
        await delivery.start()
        parts.push_async_callback(delivery.close)
        for server, port in zip(cell.servers, ports, strict=True):
            await server.wait_ready()
            await port.start()
        yield cell


def _dial(server: MessagingServer, links: "set[asyncio.Task[None]]") -> Any:
    async def dial() -> OwnerEnd:
        owner_end, server_end = in_process_link()
        links.add(asyncio.create_task(server.serve_link(server_end)))
        return owner_end

    return dial


async def _ended(links: "set[asyncio.Task[None]]") -> None:
    await asyncio.gather(*links, return_exceptions=True)
