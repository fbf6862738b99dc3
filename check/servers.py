"""Starts servers as processes of their own and reads what they cost."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check.usage import Usage, usage_of

_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    pid: int
    address: str

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage_of(self.pid)


@asynccontextmanager
async def echo_server(*tls_files: Path) -> AsyncIterator[Server]:
    """The raw grpcio server; over TLS with the files of a certificate and its key."""
    command = [sys.executable, "-m", "check.echo_server", *map(str, tls_files)]
    async with _process(command, os.environ) as process:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), _START_TIMEOUT_S)
        yield Server(process.pid, f"127.0.0.1:{int(line.split()[-1])}")


@asynccontextmanager
async def cell(folder: Path, address: str, variables: Mapping[str, str]) -> AsyncIterator[Server]:
    """`cell run` on `address`, with its data in `folder` and these CELL_* variables; ready when it answers."""
    command = [sys.executable, "-m", "messaging_cell.command", "run"]
    environment = {**os.environ, "CELL_LISTEN": address, "CELL_DATA_FOLDER": str(folder), **variables}
    async with _process(command, environment) as process:
        await _until_serving(process, address)
        yield Server(process.pid, address)


async def _until_serving(process: asyncio.subprocess.Process, address: str) -> None:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
    async with grpc.aio.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        while asyncio.get_running_loop().time() < deadline and process.returncode is None:
            try:
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.aio.AioRpcError:
                answer = None
            if answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the cell did not come up on {address}")


@asynccontextmanager
async def _process(
    command: list[str], environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.communicate(), 30)
            except TimeoutError:
                process.kill()
                await process.communicate()
