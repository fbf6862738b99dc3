"""Finds the messaging servers that delivery links to: those of a list, and those that a DNS name stands for now."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable

import structlog

from delivery_service.links import LinkTarget
from messaging_cell.setting_kinds import Address, ServerAddresses
from session_link.port import OwnerEnd

_LOOK_AGAIN_S = 5.0

_log = structlog.get_logger(__name__)


class ServerFinder:
    """Tells of each server once, however many names lead to it; looks names up again and again.

    A link ends when it breaks, never because DNS dropped a name: what is dropped is only not dialed again.
    """

    def __init__(
        self,
        servers: Iterable[ServerAddresses],
        dial: Callable[[str, str], Awaitable[OwnerEnd]],
        found: Callable[[LinkTarget], None],
    ) -> None:
        """`dial` opens a link to "host:port" of the server of a name; `found` is given each new target."""
        self._servers = tuple(servers)
        self._dial = dial
        self._found = found
        self._told: set[Address] = set()
        self._hosts: dict[ServerAddresses, list[str]] = {}
        """What each stood for when it was last looked up."""
        self._wanted: dict[Address, str] = {}
        """Addresses with the name that each was found by."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            if not any(server.by_dns for server in self._servers):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def look(self) -> None:
        """Look once. A name that cannot be looked up now keeps what it stood for, and holds up no other."""
        wanted: dict[Address, str] = {}
        for server in self._servers:
            try:
                self._hosts[server] = await _hosts(server.host) if server.by_dns else [server.host]
            except OSError as error:
                _log.warning("servers_not_found", name=server.host, reason=str(error))
            hosts = self._hosts.get(server, ())
            wanted |= {Address(host, port): server.host for host in hosts for port in server.ports}
        self._wanted = wanted
        for address in sorted(wanted.keys() - self._told):
            self._told.add(address)
            self._found(self._target(address, wanted[address]))

    def _target(self, address: Address, name: str) -> LinkTarget:
        return LinkTarget(
            str(address), lambda: self._dial(str(address), name), lambda: self._is_wanted(address)
        )

    def _is_wanted(self, address: Address) -> bool:
        """Asked before each dialing: after a no nobody dials there, so that it is told again when it comes again."""
        if address not in self._wanted:
            self._told.discard(address)
        return address in self._wanted


async def _hosts(name: str) -> list[str]:
    """Addresses of one family only: a server that has one of each is still one."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    family = min(entry[0] for entry in found)
    return sorted({str(entry[4][0]) for entry in found if entry[0] == family})
