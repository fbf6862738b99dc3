"""A cell of many processes on real engines, over TLS, started as an operator starts it."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engines.cassandra import CassandraNode
from engines.kafka import KafkaCluster
from messaging_cell.certificates import KeyPair, channel_credentials, make_for_development
from messaging_client import Client, NewMessage
from tests.support.engines import unique_name
from tests.system.cell_process import CELL_COMMAND, SECRET, free_port, token

START_DEADLINE_S = 120.0
STOP_DEADLINE_S = 60.0
PARTITIONS = 8


class Process:
    """One `cell` command that goes on."""

    def __init__(self, cell: "Cell", name: str, command: str, settings: Mapping[str, object]) -> None:
        self.name = name
        self.internal_port = int(str(settings["internal_listen"]).rpartition(":")[2])
        self._cell = cell
        self._command = command
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `Cell.wait_serving` waits."""
        with (self._cell.folder / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [CELL_COMMAND, self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._cell.environment(self._settings),
            )

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """Process ids of a messaging server's workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """Stop it in good order; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_DEADLINE_S)

    def check_running(self) -> None:
        """Raises AssertionError where it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} has ended:\n{self.tail()}"

    def tail(self) -> str:
        """What it wrote last."""
        return (self._cell.folder / f"{self.name}.log").read_text(errors="replace")[-3_000:]


class Cell:
    """Messaging servers with workers, delivery and history services, on one Kafka and one Cassandra."""

    def __init__(self, folder: Path, kafka: KafkaCluster, cassandra: CassandraNode) -> None:
        self.folder = folder
        self._certificates = folder / "certs"
        make_for_development(self._certificates, [])
        name = unique_name("cell")
        self._shared: dict[str, object] = {
            "log": f"kafka://{','.join(kafka.addresses())}/{name}",
            "history": f"cassandra://{cassandra.address}/{name}",
            "partitions": PARTITIONS,
            "few_copies": "true",
            "copies": 1,
            "jwt_secret": SECRET,
            "tls_cert_file": self._certificates / "server.pem",
            "tls_key_file": self._certificates / "server.key",
            "internal_cert_file": self._certificates / "internal.pem",
            "internal_key_file": self._certificates / "internal.key",
            "internal_ca_file": self._certificates / "ca.pem",
            "drain_s": 1,
        }
        self.processes: dict[str, Process] = {}
        self.addresses: list[str] = []
        """Where clients connect."""
        self._link_ports: list[str] = []

    def environment(self, settings: Mapping[str, object]) -> dict[str, str]:
        """Variables of a process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CELL_")}
        given = {"data_folder": self.folder / "data", **self._shared, **settings}
        return kept | {f"CELL_{name.upper()}": str(value) for name, value in given.items()}

    def migrate(self) -> None:
        """Make topics and tables."""
        done = subprocess.run(
            [CELL_COMMAND, "migrate"],
            env=self.environment({}),
            capture_output=True,
            text=True,
            timeout=START_DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def add_server(self, name: str, workers: int) -> Process:
        """A messaging server; before delivery services, which must know where to find it."""
        listen, internal = f"127.0.0.1:{free_port()}", _free_range(workers)
        self.addresses.append(listen)
        self._link_ports.append(f"127.0.0.1:{internal}-{internal + workers - 1}")
        settings = {"listen": listen, "internal_listen": f"127.0.0.1:{internal}", "workers": workers}
        return self._add(name, "messaging-server", settings)

    def add_delivery(self, name: str) -> Process:
        """A delivery service that knows the servers there are."""
        settings = {"internal_listen": f"127.0.0.1:{free_port()}", "servers": ",".join(self._link_ports)}
        return self._add(name, "delivery-service", settings)

    def add_history(self, name: str) -> Process:
        """A history service."""
        return self._add(name, "history-service", {"internal_listen": f"127.0.0.1:{free_port()}"})

    def _add(self, name: str, command: str, settings: Mapping[str, object]) -> Process:
        process = self.processes[name] = Process(self, name, command, settings)
        process.start()
        return process

    def check_running(self) -> None:
        """Raises AssertionError where a process has ended by itself."""
        for process in self.processes.values():
            process.check_running()

    def wait_serving(self, *names: str) -> None:
        """Until the health of these processes, or of all, is SERVING: servers have an owner of every partition."""
        end = time.monotonic() + START_DEADLINE_S
        for name in names or self.processes:
            process = self.processes[name]
            while self._health(process.internal_port) != health_pb2.HealthCheckResponse.SERVING:
                process.check_running()
                assert time.monotonic() < end, f"{name} does not serve:\n{process.tail()}"
                time.sleep(0.1)

    def client(self, user: str, number: int) -> Client:
        """A client of a user, connected to one of the servers."""
        address = self.addresses[number % len(self.addresses)]
        return Client(address, token(user), credentials=self.credentials)

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        """For connections to the servers."""
        return channel_credentials(self._certificates / "ca.pem")

    def stop(self) -> dict[str, int]:
        """Stop everything in good order: exit codes."""
        return {name: process.stop() for name, process in self.processes.items()}

    def kill(self) -> None:
        """Kill everything."""
        for process in self.processes.values():
            process.kill()

    def _health(self, port: int) -> int | None:
        pair = KeyPair(self._certificates / "internal.pem", self._certificates / "internal.key")
        credentials = channel_credentials(self._certificates / "ca.pem", pair)
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status)  # type: ignore[attr-defined]
            except grpc.RpcError:
                return None


class Reader:
    """A client that writes down what it is told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.texts: list[str] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.client.events():
            if isinstance(event, NewMessage):
                self.texts.append(event.message.text)

    async def until(self, count: int) -> None:
        """Until it was told of so many messages."""
        async with asyncio.timeout(START_DEADLINE_S):
            while len(self.texts) < count:
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.client.close()


def _free_range(count: int) -> int:
    """The first of some free ports in a row."""
    for _ in range(1_000):
        first = free_port()
        if all(port in _free(first, count) for port in range(first, first + count)):
            return first
    raise OSError("no free ports in a row")


def _free(first: int, count: int) -> Iterator[int]:
    import socket

    for port in range(first, first + count):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield port
