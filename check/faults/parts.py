"""What a cell under test is made of, for those who break it: processes, servers of engines, networks, a disk, clocks."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from check.faults.clock import Clock
from check.faults.own_disk import OwnDisk
from check.faults.proxy import Proxy
from check.faults.schedule import Kind
from check.processes import Process
from engines.server import Server

START_DEADLINE_S = 120.0


class CellDown(Exception):
    """A process does not serve although nothing keeps it from it; the message ends with what it wrote last."""


@dataclass(slots=True)
class Part:
    """A process of the cell."""

    process: Process
    health_addresses: Sequence[str]
    """Its own, or those of its workers."""
    is_wanted: bool = False
    """Whether it is to run now; one that ends by itself is then started again."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever stops and starts it."""

    def start(self) -> None:
        """Start it; it is started again should it end by itself."""
        self.is_wanted = True
        self.process.start()

    async def wait_serving(self, is_disturbed: Callable[[], bool]) -> None:
        """Until its health is SERVING. Raises CellDown, where it had time enough without disturbance."""
        end_s = time.monotonic() + START_DEADLINE_S
        while not all([await _is_serving(address) for address in self.health_addresses]):
            if is_disturbed():
                end_s = time.monotonic() + START_DEADLINE_S
            if time.monotonic() > end_s:
                raise CellDown(f"{self.process.name} does not serve:\n{self.process.tail()}")
            await asyncio.sleep(0.05)


@dataclass(slots=True)
class EngineServer:
    """A broker, or Cassandra."""

    server: Server
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Parts:
    """All parts of a cell, by name. What a cell does not have is empty."""

    processes: dict[str, Part] = field(default_factory=dict)
    engines: dict[str, EngineServer] = field(default_factory=dict)
    networks: dict[str, Sequence[Proxy]] = field(default_factory=dict)
    """Between two parts: all proxies between them."""
    clocks: dict[str, Clock] = field(default_factory=dict)
    disk: OwnDisk | None = None
    disk_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    addresses: list[str] = field(default_factory=list)
    """Where clients connect."""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    """The faults that it can have."""
    notes: list[str] = field(default_factory=list)
    """What could not be had on this machine, and why."""


async def _is_serving(address: str) -> bool:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)  # type: ignore[attr-defined]
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
