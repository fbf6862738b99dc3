"""The port that clients connect to: a gRPC server with health and reflection, for whichever services are added to it."""

import socket
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from cell.history.v1 import history_pb2
from cell.messaging.v1 import messaging_pb2
from messaging_cell.setting_kinds import Address

_SERVICES = (
    messaging_pb2.DESCRIPTOR.services_by_name["MessagingService"].full_name,
    history_pb2.DESCRIPTOR.services_by_name["HistoryService"].full_name,
)
_SHOWN_FILES = (
    messaging_pb2.DESCRIPTOR,
    history_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_pb2.DESCRIPTOR,
)
_DEAD_PEER_PING_S = 300
"""A connection that has been silent for so long is asked whether it is still there; one that does not answer is closed."""
_PING_ANSWER_S = 20
_MAX_PENDING_CALLS = 1_000_000
"""The most streams that can be set; each pending call has a connection, so file descriptors bound them before."""
_LEAST_CLIENT_PING_S = 10
"""Clients may ping as often as this, against 5 minutes by default, where grpc takes more for an attack."""


class PortTaken(Exception):
    """The address cannot be listened on. The text says which and why."""


class ClientPort:
    """Listens from the start, answers from `start` on, and tells its health in `serving`."""

    def __init__(
        self,
        address: Address,
        max_message_bytes: int,
        credentials: grpc.ServerCredentials | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """Take the port; with `credentials` it is served over TLS. A `shared` one other processes may take too.

        Raises PortTaken.
        """
        if not shared:
            check_free(address)
        self.server = grpc.aio.server(options=_options(max_message_bytes, shared))
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
        names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server, pool=_pool_of(_SHOWN_FILES))

    async def start(self) -> None:
        """Answer; not yet serving, for whoever asks for health."""
        await self.serving(False)
        await self.server.start()

    async def serving(self, serves: bool) -> None:
        """Tell health checks, of each service and of all (""), whether new clients are welcome."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in ("", *_SERVICES):
            await self._health.set(name, status)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and cancel those that have not ended in time."""
        await self.server.stop(grace_s)


def _options(max_message_bytes: int, shared: bool) -> list[tuple[str, int]]:
    return [
        # Otherwise two cells started by mistake would silently share the port, each with half of the clients.
        ("grpc.so_reuseport", int(shared)),
        # The services refuse frames above their limit with its number; grpc only what is far above.
        ("grpc.max_receive_message_length", 2 * max_message_bytes),
        # By default grpc cancels calls at random where more than 1,000 have not been looked at yet, as when all clients of
        # another server come at once. The server refuses streams above its limit itself, and says so.
        ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING_CALLS),
        ("grpc.keepalive_time_ms", _DEAD_PEER_PING_S * 1_000),
        ("grpc.keepalive_timeout_ms", _PING_ANSWER_S * 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_CLIENT_PING_S * 1_000),
    ]


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


def _pool_of(files: Iterable[Any]) -> descriptor_pool.DescriptorPool:
    """A pool of these files and what they import, and of nothing else that the process knows."""
    pool = descriptor_pool.DescriptorPool()
    seen: set[str] = set()

    def add(file: Any) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        pool.AddSerializedFile(file.serialized_pb)  # type: ignore[no-untyped-call]

    for file in files:
        add(file)
    return pool
