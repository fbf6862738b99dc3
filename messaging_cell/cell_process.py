"""A process of the cell: all its services, or one of them. What `cell run` and its like run, and a library's server.

Importing this module imports grpc: call messaging_cell.runtime.prepare() before, once, in the program that does.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AsyncExitStack, suppress
from enum import Enum
from typing import Any

import structlog

from delivery_service.service import DeliveryService, DeliverySettings, LinkTarget
from event_log.port import EventLog
from history_service.api import HistoryApi
from history_service.consumer import HistoryConsumer
from history_service.port import HistoryStore
from history_service.readers import StoredRegistry
from history_service.settings import HistorySettings
from messaging_cell import access_tokens, process_checks, storage
from messaging_cell.client_port import ClientPort
from messaging_cell.grpc_port import PortTaken
from messaging_cell.internal_port import InternalPort, dialer
from messaging_cell.server_finder import ServerFinder
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings
from messaging_cell.telemetry import Telemetry
from messaging_server.server import MessagingServer
from messaging_server.settings import ServerSettings
from session_link.grpc_link import add_session_link_service
from session_link.in_process import in_process_link
from session_link.port import OwnerEnd

_READY_TIMEOUT_S = 60.0
_DRAIN_MARGIN_S = 5.0
"""What a drain may take beyond what the settings give it, before streams are ended all the same."""
_STOP_GRACE_S = 1.0
"""For unary calls that are under way when the streams have ended."""

_log = structlog.get_logger(__name__)


class Service(Enum):
    """What a process may hold."""

    MESSAGING_SERVER = "messaging-server"
    """Client streams, and the History API beside them."""
    DELIVERY = "delivery-service"
    HISTORY = "history-service"
    """From the log to the store."""


WHOLE_CELL = frozenset(Service)


class CannotStart(Exception):
    """The process cannot start here. The text says why, and what it is about."""


class CellFailed(Exception):
    """A part of the running process cannot go on; it must be stopped. The text says which part and why."""


class CellProcess:
    """Some services of a cell, assembled. Start it once, stop it once.

    ::

        cell = CellProcess(Settings(listen=Address("127.0.0.1", 0)))
        await cell.start()
        print(cell.client_address)
        await cell.wait_closed()

    Together, delivery and messaging server are linked in the process. Alone, each has an internal port for the others.
    """

    def __init__(self, settings: Settings, services: Collection[Service] = WHOLE_CELL) -> None:
        """Raises SettingsRefused."""
        process_checks.check(
            settings, has_clients=Service.MESSAGING_SERVER in services, is_whole=_is_whole(services)
        )
        self.settings = settings
        self.client_address: Address = settings.listen
        """Where clients connect; once started with its real port."""
        self.internal_address: Address | None = None
        """Where other processes and probes ask; None where the process is the whole cell."""
        self._services = services
        self._parts = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None]
        self._server: MessagingServer | None = None
        self._client_port: ClientPort | None = None
        self._internal_port: InternalPort | None = None
        self._becoming_ready: asyncio.Task[None] | None = None
        """Tells health when every partition has an owner, where the process is a messaging server alone."""

    @property
    def metrics_address(self) -> Address | None:
        """Where figures are fetched; None where they are not."""
        return self._telemetry.metrics_address

    @property
    def has_clients(self) -> bool:
        """Whether clients connect to it."""
        return Service.MESSAGING_SERVER in self._services

    async def start(self) -> None:
        """Start every part. Raises CannotStart, SettingsRefused, CellFailed.

        A whole cell is ready when it returns. A process alone becomes so when it finds the others; its health tells.
        """
        self._closed = asyncio.get_running_loop().create_future()
        try:
            await self._start()
        except (PortTaken, storage.StorageRefused, OSError) as error:
            await self._parts.aclose()
            raise CannotStart(str(error)) from error
        except BaseException:
            await self._parts.aclose()
            raise

    async def wait_closed(self) -> None:
        """Return once the process has been stopped. Raises CellFailed as soon as a part cannot go on; then stop it."""
        await asyncio.shield(self._closed)

    async def stop(self) -> None:
        """Refuse new clients, let those that are here leave, finish what is under way, close everything in order.

        After CellFailed nobody is waited for.
        """
        if self._becoming_ready is not None:
            self._becoming_ready.cancel()  # owners may link while it drains
        for port in (self._client_port, self._internal_port):
            if port is not None:
                await port.serving(False)
        if self._server is not None and not self._closed.done():
            settings = self._server_settings
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.drain_s + settings.drain_grace_s + _DRAIN_MARGIN_S):
                    await self._server.drain()
        await self._parts.aclose()
        if not self._closed.done():
            self._closed.set_result(None)
        self._closed.exception()  # whoever did not ask does not want to know

    @property
    def _server_settings(self) -> ServerSettings:
        settings = self.settings
        return ServerSettings(
            server_id=self._name,
            cell_id=settings.cell_id,
            limits=settings.limits,
            max_streams=settings.max_streams,
            max_streams_per_user=settings.max_streams_per_user,
            drain_s=settings.drain_s,
        )

    @property
    def _name(self) -> str:
        if self.settings.server_id or self.internal_address is None:
            return self.settings.server_id or self.settings.cell_id
        return f"{socket.gethostname()[:58]}:{self.internal_address.port}"

    async def _start(self) -> None:
        settings, parts, services = self.settings, self._parts, self._services
        log = await storage.open_log(settings)
        parts.push_async_callback(log.close)
        watched: dict[str, Callable[[], Awaitable[None]]] = {}
        if not _is_whole(services):
            self._internal_port = InternalPort(
                settings.internal_listen, process_checks.internal_server_credentials(settings)
            )
            self.internal_address = self._internal_port.address
            parts.push_async_callback(self._internal_port.stop, _STOP_GRACE_S)
        self._telemetry = self._make_telemetry()
        parts.push_async_callback(self._telemetry.stop)
        if services != {Service.DELIVERY}:
            store = await storage.open_store(settings)
            parts.push_async_callback(store.close)
            if Service.HISTORY in services:
                watched["history"] = await self._start_history(log, store)
            if Service.MESSAGING_SERVER in services:
                await self._make_server(log, store)
        if Service.DELIVERY in services:
            watched["delivery"] = await self._start_delivery(log)
        parts.callback(self._watch(watched).cancel)
        self._telemetry.figures.add(log.figures)
        await self._telemetry.start()
        await self._open_ports()

    def _make_telemetry(self) -> Telemetry:
        service = "" if _is_whole(self._services) else next(iter(self._services)).value
        port = (self.internal_address or self.settings.listen).port
        return Telemetry(self.settings, service, self.settings.server_id or f"{socket.gethostname()}:{port}")

    async def _start_history(self, log: EventLog, store: HistoryStore) -> Callable[[], Awaitable[None]]:
        settings = HistorySettings(limits=self.settings.limits)
        history = HistoryConsumer(log, store, settings, self._telemetry.tracer)
        self._telemetry.figures.add(history.figures)
        await history.start()
        self._parts.push_async_callback(history.close)
        return history.wait_closed

    async def _make_server(self, log: EventLog, store: HistoryStore) -> None:
        settings, parts = self.settings, self._parts
        authenticator = await asyncio.to_thread(access_tokens.verifier, settings)
        parts.callback(self._run(authenticator.watch_keys()).cancel)
        credentials = process_checks.client_port_credentials(settings)
        port = ClientPort(settings.listen, settings.max_frame_bytes, credentials, shared=settings.shared_port)
        self._client_port, self.client_address = port, port.address
        parts.push_async_callback(port.stop, _STOP_GRACE_S)
        tracer = self._telemetry.tracer
        history_settings = HistorySettings(limits=settings.limits)
        api = HistoryApi(store, log, authenticator, history_settings, tracer)
        api.add_to(port.server)
        self._server = MessagingServer(
            log=log,
            history=api.events,
            registry=StoredRegistry(store),
            authenticator=authenticator,
            settings=self._server_settings,
            tracer=tracer,
        )
        parts.push_async_callback(self._server.close)
        for source in (self._server.figures, api.figures):
            self._telemetry.figures.add(source)
        self._server.add_to(port.server)
        if self._internal_port is not None:
            add_session_link_service(self._internal_port.server, self._server.serve_link)

    async def _start_delivery(self, log: EventLog) -> Callable[[], Awaitable[None]]:
        settings = self.settings
        window_bytes = settings.window_bytes // settings.partitions
        delivery_settings = DeliverySettings(window_bytes=window_bytes)
        delivery = DeliveryService(log=log, settings=delivery_settings, tracer=self._telemetry.tracer)
        await delivery.start()
        self._telemetry.figures.add(delivery.figures)
        self._parts.push_async_callback(delivery.close)
        if Service.MESSAGING_SERVER in self._services:
            delivery.add_target(LinkTarget(settings.cell_id, self._link_here))
        else:
            finder = ServerFinder(settings.servers, dialer(settings), delivery.add_target)
            self._parts.callback(self._run(finder.run()).cancel)
        return delivery.failed

    async def _link_here(self) -> OwnerEnd:
        """A link between delivery and messaging server within this process."""
        assert self._server is not None
        owner_end, server_end = in_process_link()
        self._run(self._server.serve_link(server_end))
        return owner_end

    async def _open_ports(self) -> None:
        for port in (self._client_port, self._internal_port):
            if port is not None:
                await port.start()
        if self._server is not None and self._internal_port is None:
            await self._until_ready(self._server)
            await self._serving()
        elif self._server is not None:
            self._becoming_ready = self._run(self._serving_when_ready(self._server))
            self._parts.callback(self._becoming_ready.cancel)
        else:
            await self._serving()

    async def _serving_when_ready(self, server: MessagingServer) -> None:
        await server.wait_ready()
        await self._serving()
        _log.info("serving", clients=str(self.client_address))

    async def _serving(self) -> None:
        for port in (self._client_port, self._internal_port):
            if port is not None:
                await port.serving(True)

    async def _until_ready(self, server: MessagingServer) -> None:
        """Every partition has an owner that is linked. A part that fails meanwhile is told."""
        ready = asyncio.create_task(server.wait_ready())
        try:
            await asyncio.wait(
                (ready, self._closed), timeout=_READY_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if self._closed.done():
                self._closed.result()
            if not ready.done():
                raise CannotStart(
                    f"Not every partition was taken over within {_READY_TIMEOUT_S:.0f} s; the log says why."
                )
        finally:
            ready.cancel()

    def _watch(self, parts: dict[str, Callable[[], Awaitable[None]]]) -> "asyncio.Task[None]":
        """Tell when one of these cannot go on."""

        async def watch() -> None:
            waiting = {asyncio.ensure_future(wait()): name for name, wait in parts.items()}
            try:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for part in done:
                    error = part.exception()
                    if not self._closed.done():
                        self._closed.set_exception(
                            CellFailed(f"The {waiting[part]} service cannot go on: {error}.")
                        )
            finally:
                for part in waiting:
                    part.cancel()

        return self._run(watch() if parts else asyncio.sleep(0))

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_whole(services: Collection[Service]) -> bool:
    return set(services) == WHOLE_CELL
