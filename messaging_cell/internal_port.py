"""The port of a process that other processes of the cell, and probes, ask: session links and health; and who dials it."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from messaging_cell import process_checks
from messaging_cell.client_port import PortTaken, check_free
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from session_link.grpc_link import SERVER_OPTIONS, dial
from session_link.port import LinkClosed, OwnerEnd


class InternalPort:
    """Answers from `start` on. Health is that of the whole process, for ""."""

    def __init__(self, address: Address, credentials: grpc.ServerCredentials | None) -> None:
        """Take the port. Raises PortTaken."""
        check_free(address)
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *SERVER_OPTIONS])
        try:
            if credentials is None:
                port = self.server.add_insecure_port(str(address))
            else:
                port = self.server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise PortTaken(f"Cannot listen on {address}: {error}.") from error
        self.address = address._replace(port=port)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)

    async def start(self) -> None:
        """Answer; not yet serving, for whoever asks for health."""
        await self.serving(False)
        await self.server.start()

    async def serving(self, serves: bool) -> None:
        """Tell health checks whether the process does its work."""
        answer = health_pb2.HealthCheckResponse
        await self._health.set("", answer.SERVING if serves else answer.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and cancel those that have not ended in time."""
        await self.server.stop(grace_s)


def dialer(settings: Settings) -> Callable[[str, str], Awaitable[OwnerEnd]]:
    """What opens links to "host:port" of the server of a name. Raises SettingsRefused.

    Certificates are read for each link, so that renewed ones are taken up.
    """
    process_checks.internal_channel_credentials(settings)

    async def link(address: str, name: str) -> OwnerEnd:
        try:
            credentials = await asyncio.to_thread(process_checks.internal_channel_credentials, settings)
        except SettingsRefused as error:
            raise LinkClosed(str(error)) from error
        return await dial(address, credentials=credentials, server_name=name)

    return link
