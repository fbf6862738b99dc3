"""The port that clients connect to: a gRPC server with health and reflection, for whichever services are added to it."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from cell.history.v1 import history_pb2
from cell.messaging.v1 import messaging_pb2
from messaging_cell.grpc_port import GrpcPort
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


class ClientPort(GrpcPort):
    """See GrpcPort. Serving means that new clients are welcome."""

    def __init__(
        self,
        address: Address,
        max_message_bytes: int,
        credentials: grpc.ServerCredentials | None = None,
        *,
        shared: bool = False,
    ) -> None:
        """See GrpcPort. Raises PortTaken."""
        super().__init__(address, credentials, _options(max_message_bytes), _SERVICES, shared=shared)
        names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.server, pool=_pool_of(_SHOWN_FILES))


def _options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
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
