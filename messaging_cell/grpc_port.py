"""A port of gRPC: taken at once or refused by name, with health checks, answering when told to."""

import socket
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from messaging_cell.setting_kinds import Address


class PortTaken(Exception):
    """The address cannot be listened on. The text says which and why."""


class GrpcPort:
    """Listens from the start, answers from `start` on, and tells its health in `serving`."""

    def __init__(
        self,
        address: Address,
        credentials: grpc.ServerCredentials | None,
        options: Sequence[tuple[str, int]],
        services: Sequence[str] = (),
        *,
        shared: bool = False,
    ) -> None:
        """Take the port; with `credentials` it is served over TLS. A `shared` one other processes may take too.

        `services` are those whose health is told, beside that of all of them, "". Raises PortTaken.
        """
        if not shared:
            check_free(address)
        # Unless told so, two cells started by mistake would silently share the port, each with half of the clients.
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", int(shared)), *options])
        try:
            if credentials is None:
                port = self.server.add_insecure_port(str(address))
            else:
                port = self.server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise PortTaken(f"Cannot listen on {address}: {error}.") from error
        self.address = address._replace(port=port)
        self._names = ("", *services)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)

    async def start(self) -> None:
        """Answer; not yet serving, for whoever asks for health."""
        await self.serving(False)
        await self.server.start()

    async def serving(self, serves: bool) -> None:
        """Tell health checks whether there is service."""
        answer = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._health.set(name, answer.SERVING if serves else answer.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and cancel those that have not ended in time."""
        await self.server.stop(grace_s)


def check_free(address: Address) -> None:
    """Bind and let go, because grpc does not say why an address cannot be listened on. Raises PortTaken."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, target = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except OSError as error:
        raise PortTaken(f"Cannot listen on {address}: {error.strerror or error}.") from error
