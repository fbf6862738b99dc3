"""The baseline: a raw grpcio server that sends every frame back, with the settings of the cell's own server.

`python -m check.echo_server [CERTIFICATE KEY]` prints "listening on PORT" and serves until it is told to stop, over TLS
where it was given the PEM files for it. What it costs is what grpcio itself costs: every figure of the cell is also given as
a ratio to it.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import messaging_cell.runtime as runtime

runtime.prepare()

import grpc  # noqa: E402  (the line above sets what grpc reads when it is first imported)

METHOD = "/check.Echo/Stream"
_MAX_PENDING_CALLS = 1_000_000
"""As the cell's: by default grpc cancels calls at random where more than 1,000 come at once."""


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(_echo) if details.method == METHOD else None


async def _echo(_: AsyncIterator[bytes], context: Any) -> None:
    while (frame := await context.read()) is not grpc.aio.EOF:
        await context.write(frame)


async def _serve(credentials: grpc.ServerCredentials | None) -> None:
    server = grpc.aio.server(
        options=[
            ("grpc.server.max_pending_requests", _MAX_PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", _MAX_PENDING_CALLS),
        ]
    )
    server.add_generic_rpc_handlers((_Echo(),))
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    runtime.settle_memory()
    print(f"listening on {port}", flush=True)
    await server.wait_for_termination()


def _credentials(files: list[str]) -> grpc.ServerCredentials | None:
    if not files:
        return None
    certificate, key = (Path(file).read_bytes() for file in files)
    return grpc.ssl_server_credentials([(key, certificate)])


if __name__ == "__main__":
    runtime.raise_file_limit()
    runtime.run(_serve(_credentials(sys.argv[1:])))
