"""A whole cell in one process, on the embedded engine: what `cell run` runs, and a server to use as a library.

Importing this module imports grpc: call messaging_cell.runtime.prepare() before, once, in the program that does.
"""

import asyncio
import ipaddress
from contextlib import AsyncExitStack, suppress

import grpc
import structlog

from delivery_service.service import DeliveryService, DeliverySettings, LinkTarget
from event_log.embedded import EmbeddedLog, EmbeddedLogSettings
from event_log.port import LogError
from history_service.api import HistoryApi
from history_service.consumer import HistoryConsumer
from history_service.embedded import EmbeddedStore
from history_service.port import StoreError
from history_service.readers import StoredEvents, StoredRegistry
from history_service.settings import HistorySettings
from messaging_cell import access_tokens
from messaging_cell.certificates import CertificatesRefused, KeyPair, server_credentials
from messaging_cell.client_port import ClientPort, PortTaken
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from messaging_core.sqlite import FolderInUse, NotDurable
from messaging_server.server import MessagingServer
from messaging_server.settings import ServerSettings
from session_link.in_process import in_process_link
from session_link.port import OwnerEnd

_READY_TIMEOUT_S = 60.0
_DRAIN_MARGIN_S = 5.0
"""What a drain may take beyond what the settings give it, before streams are ended all the same."""
_STOP_GRACE_S = 1.0
"""For unary calls that are under way when the streams have ended."""

_log = structlog.get_logger(__name__)


class CannotStart(Exception):
    """The cell cannot start here. The text says why, and what it is about."""


class CellFailed(Exception):
    """A part of the running cell cannot go on; the cell must be stopped. The text says which part and why."""


class EmbeddedCell:
    """Log, history, delivery and messaging server, assembled. Start it once, stop it once.

    ::

        cell = EmbeddedCell(Settings(listen=Address("127.0.0.1", 0)))
        await cell.start()
        print(cell.client_address)
        await cell.wait_closed()
    """

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsRefused."""
        if access_tokens.is_development(settings) and not _is_loopback(settings.listen.host):
            raise SettingsRefused(
                [
                    f"listen: {settings.listen} is not on this machine only, but no keys are set. In development mode, "
                    "where whoever reads the data folder can be any user, it must be a loopback address like 127.0.0.1. "
                    "To serve others set the keys of access tokens; see docs/settings.md."
                ]
            )
        if not (access_tokens.is_development(settings) or settings.has_tls or settings.insecure):
            raise SettingsRefused(
                [
                    "tls_cert_file, tls_key_file: not set, so clients would be served without TLS. Set them (`cell certs` "
                    "makes some for development), or insecure to true where something in front of the cell ends TLS."
                ]
            )
        self.settings = settings
        self.client_address: Address = settings.listen
        """Where clients connect; once started with its real port."""
        self._parts = AsyncExitStack()
        self._links: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Future[None]
        self._server: MessagingServer
        self._port: ClientPort

    async def start(self) -> None:
        """Start every part; returns when clients are served. Raises CannotStart, SettingsRefused, CellFailed."""
        self._closed = asyncio.get_running_loop().create_future()
        try:
            await self._start()
        except (PortTaken, FolderInUse, NotDurable, StoreError, LogError, OSError) as error:
            await self._parts.aclose()
            raise CannotStart(str(error)) from error
        except BaseException:
            await self._parts.aclose()
            raise

    async def wait_closed(self) -> None:
        """Return once the cell has been stopped. Raises CellFailed as soon as a part cannot go on; then stop it."""
        await asyncio.shield(self._closed)

    async def stop(self) -> None:
        """Refuse new clients, let those that are here leave, finish what is under way, close everything in order.

        After CellFailed nobody is waited for.
        """
        await self._port.serving(False)
        if not self._closed.done():
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
            server_id=settings.cell_id,
            cell_id=settings.cell_id,
            limits=settings.limits,
            max_streams=settings.max_streams,
            max_streams_per_user=settings.max_streams_per_user,
            drain_s=settings.drain_s,
        )

    async def _start(self) -> None:
        settings, parts = self.settings, self._parts
        authenticator = await asyncio.to_thread(access_tokens.verifier, settings)
        log_settings = EmbeddedLogSettings(retention_s=settings.retention_s)
        log = await EmbeddedLog.open(settings.data_folder / "log", settings.partitions, log_settings)
        parts.push_async_callback(log.close)
        store = await EmbeddedStore.open(settings.data_folder / "history")
        parts.push_async_callback(store.close)

        history_settings = HistorySettings(limits=settings.limits)
        history = HistoryConsumer(log, store, history_settings)
        await history.start()
        parts.push_async_callback(history.close)

        self._port = ClientPort(settings.listen, settings.max_frame_bytes, _tls(settings))
        self.client_address = self._port.address
        parts.push_async_callback(self._port.stop, _STOP_GRACE_S)
        HistoryApi(store, log, authenticator, history_settings).add_to(self._port.server)

        self._server = MessagingServer(
            log=log,
            history=StoredEvents(store, log.incarnation),
            registry=StoredRegistry(store),
            authenticator=authenticator,
            settings=self._server_settings,
        )
        parts.push_async_callback(self._server.close)
        self._server.add_to(self._port.server)

        delivery = DeliveryService(
            log=log,
            targets=[LinkTarget(settings.cell_id, self._dial)],
            settings=DeliverySettings(window_bytes=settings.window_bytes // settings.partitions),
        )
        await delivery.start()
        parts.push_async_callback(delivery.close)

        watch = asyncio.create_task(self._watch_parts(history, delivery))
        parts.callback(watch.cancel)
        await self._port.start()
        await self._until_ready()
        await self._port.serving(True)

    async def _dial(self) -> OwnerEnd:
        """The link between delivery and messaging server, within this process."""
        owner_end, server_end = in_process_link()
        serving = asyncio.create_task(self._server.serve_link(server_end))
        self._links.add(serving)
        serving.add_done_callback(self._links.discard)
        return owner_end

    async def _until_ready(self) -> None:
        """Every partition has an owner that is linked. A part that fails meanwhile is told."""
        ready = asyncio.create_task(self._server.wait_ready())
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

    async def _watch_parts(self, history: HistoryConsumer, delivery: DeliveryService) -> None:
        parts = {
            asyncio.ensure_future(history.wait_closed()): "history",
            asyncio.ensure_future(delivery.failed()): "delivery",
        }
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                error = part.exception()
                if not self._closed.done():
                    self._closed.set_exception(
                        CellFailed(f"The {parts[part]} service cannot go on: {error}.")
                    )
        finally:
            for part in parts:
                part.cancel()


def _tls(settings: Settings) -> grpc.ServerCredentials | None:
    """What the client port shows. Raises SettingsRefused."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    try:
        return server_credentials(KeyPair(settings.tls_cert_file, settings.tls_key_file))
    except CertificatesRefused as error:
        raise SettingsRefused([f"tls_cert_file, tls_key_file: {error}."]) from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
