"""What is measured: a cell on one engine or the other, or the raw echo server that it is compared with."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from check.cells import Cell, Engines
from check.connections.options import Options
from check.servers import echo_server
from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from engines.run_folder import RunFolder
from messaging_cell.certificates import make_for_development

CELL, ECHO, SERVER = "cell", "echo", "messaging-server"
"""Roles that hold streams: a whole cell in one process, the echo server, and a messaging server's workers."""
_PARTITIONS = 16
_SPARE_STREAMS = 1.25
"""Workers share a port, and the kernel gives each its share only by chance."""


@dataclass(frozen=True, slots=True)
class Target:
    """What runs and can be connected to."""

    kind: str
    """`cell` or `echo`: what its clients must speak."""
    addresses: Sequence[str]
    authorities: Path | None
    """PEM file to trust it by; None without TLS."""
    pids: Mapping[str, Sequence[int]]
    """By role."""
    holder: str
    """The role that holds the streams."""
    check: Callable[[], None]
    """Raises where something has ended by itself."""
    metrics: Sequence[str] = ()
    """Where the processes that hold the streams tell their figures, in the order of their ids; empty where they do not."""


@asynccontextmanager
async def running(kind: str, options: Options) -> AsyncIterator[Target]:
    """The cell or the echo server of these options; what runs is gone afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="check-connections-") as name:
        folder = options.folder / kind if options.folder else Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        start = _echo if kind == ECHO else _embedded if options.engine == "embedded" else _on_engines
        async with start(folder, options) as target:
            yield target


@asynccontextmanager
async def _echo(folder: Path, options: Options) -> AsyncIterator[Target]:
    files: list[Path] = []
    if options.tls:
        make_for_development(folder, [])
        files = [folder / "server.pem", folder / "server.key"]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(echo_server(*files)) for _ in range(options.workers)]
        addresses = [server.address for server in servers]
        authorities = folder / "ca.pem" if options.tls else None
        pids = {ECHO: [server.pid for server in servers]}
        yield Target(ECHO, addresses, authorities, pids, ECHO, lambda: None)


@asynccontextmanager
async def _embedded(folder: Path, options: Options) -> AsyncIterator[Target]:
    cell = Cell(folder, tls=options.tls, settings=_settings(options))
    try:
        pids = await asyncio.to_thread(_whole, cell, options)
        yield Target(CELL, cell.addresses, cell.authorities, pids, CELL, cell.check_running)
    finally:
        await asyncio.to_thread(cell.kill)


@asynccontextmanager
async def _on_engines(folder: Path, options: Options) -> AsyncIterator[Target]:
    run = await asyncio.to_thread(RunFolder.create)
    try:
        kafka = KafkaCluster(run, quick_start=False)
        cassandra = CassandraNode(run, quick_start=False)
        await asyncio.to_thread(kafka.start)
        await asyncio.to_thread(cassandra.start)
        engines = Engines(kafka.addresses()[0], cassandra.address, f"check_{time.time_ns():x}")
        cell = Cell(folder, engines, tls=options.tls, settings=_settings(options))
        try:
            await asyncio.to_thread(cell.migrate)
            start = _whole if options.whole else _services
            pids = {
                **await asyncio.to_thread(start, cell, options),
                "kafka": [pid for broker in kafka.brokers if (pid := broker.pid)],
                "cassandra": [pid for pid in (cassandra.server.pid,) if pid],
            }
            yield Target(
                CELL,
                cell.addresses,
                cell.authorities,
                pids,
                CELL if options.whole else SERVER,
                cell.check_running,
                cell.metrics_addresses,
            )
        finally:
            await asyncio.to_thread(cell.kill)
    finally:
        await asyncio.to_thread(run.close)


def _whole(cell: Cell, _: Options) -> dict[str, list[int]]:
    """Everything in one process; its id, by role."""
    process = cell.add_whole(CELL)
    cell.wait_serving()
    return {CELL: [process.pid]}


def _services(cell: Cell, options: Options) -> dict[str, list[int]]:
    """A process for each service; their ids, by role."""
    server = cell.add_server(SERVER, options.workers, tells_figures=options.comes_back)
    delivery, history = cell.add_delivery("delivery-service"), cell.add_history("history-service")
    cell.wait_serving()
    # One worker is no process of its own.
    return {
        SERVER: server.workers() or [server.pid],
        delivery.name: [delivery.pid],
        history.name: [history.pid],
    }


def _settings(options: Options) -> Mapping[str, object]:
    """What must not be the limit: streams, and how much one user may send, one on another before there is an answer."""
    # Where a worker is killed the others take all of its streams.
    spare = options.workers if options.comes_back else _SPARE_STREAMS
    return {
        "partitions": _PARTITIONS,
        "max_streams": int(options.connections * spare) + 100,
        "max_recipients": 1_000,
        "max_in_flight": 65_536,
        "max_sends_per_second": 1_000_000,
        "log_level": "warning",
    }
