"""The baseline: a raw grpcio server that sends every frame back, with the settings of the cell's own server.

`python -m check.echo_server` prints "listening on PORT" and serves until it is told to stop. What it costs is what grpcio
itself costs: every figure of the cell is also given as a ratio to it.
"""

from collections.abc import AsyncIterator
from typing import Any

import messaging_cell.runtime as runtime

runtime.prepare()

import grpc  # noqa: E402  (the line above sets what grpc reads when it is first imported)

METHOD = "/check.Echo/Stream"


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(_echo) if details.method == METHOD else None


async def _echo(_: AsyncIterator[bytes], context: Any) -> None:
    while (frame := await context.read()) is not grpc.aio.EOF:
        await context.write(frame)


async def _serve() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on {port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    runtime.run(_serve())
