"""The port of a process that other processes of the cell, and probes, ask: session links and health; and who dials it."""

import asyncio
from collections.abc import Awaitable, Callable

import grpc

from messaging_cell import process_checks
from messaging_cell.grpc_port import GrpcPort
from messaging_cell.setting_kinds import Address
from messaging_cell.settings import Settings, SettingsRefused
from session_link.grpc_link import SERVER_OPTIONS, dial
from session_link.port import LinkClosed, OwnerEnd


class InternalPort(GrpcPort):
    """See GrpcPort. Serving means that the process does its work."""

    def __init__(self, address: Address, credentials: grpc.ServerCredentials | None) -> None:
        """See GrpcPort. Raises PortTaken."""
        super().__init__(address, credentials, SERVER_OPTIONS)


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
