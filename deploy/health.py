"""Whether the process of this container does its work, as its internal port tells: the exit code says so.

It asks each worker, on this machine, with the same CELL_* variables as the process itself.
"""

import os
import sys
from collections.abc import Iterator, Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from messaging_cell.process_checks import internal_channel_credentials
from messaging_cell.setting_sources import load
from messaging_cell.settings import Settings, SettingsRefused

_TIMEOUT_S = 3.0


def faults(environment: Mapping[str, str]) -> Iterator[str]:
    """One line for each worker that is not SERVING. Raises SettingsRefused."""
    settings = load(Settings, {}, environment)
    credentials = internal_channel_credentials(settings)
    for worker in range(settings.workers):
        address = f"localhost:{settings.internal_listen.port + worker}"
        status = _status(address, credentials)
        if status != "SERVING":
            yield f"{address}: {status}"


def _status(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    made = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with made as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            return str(error.code().name)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main() -> None:
    """Print what is wrong; exits with 0 if nothing is, else with 1."""
    try:
        found = list(faults(os.environ))
    except SettingsRefused as refused:
        found = refused.faults
    for fault in found:
        print(fault)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
