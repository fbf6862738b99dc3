"""A cell started as an operator starts it: `cell` commands as processes, embedded or on Kafka and Cassandra."""

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import grpc
import jwt
from grpc_health.v1 import health_pb2, health_pb2_grpc

from check.processes import CELL_COMMAND, Process, environment
from engines.server import free_port_range, free_ports
from messaging_cell.certificates import KeyPair, channel_credentials, make_for_development

SECRET = "of cells that are tried or measured: at least 32 bytes"
"""Signs access tokens."""
START_DEADLINE_S = 120.0


def token(user_id: str) -> str:
    """An access token, as an identity provider that shares the key would make it."""
    return jwt.encode({"sub": user_id, "exp": int(time.time()) + 86_400}, SECRET, algorithm="HS256")


@dataclass(frozen=True, slots=True)
class Engines:
    """Where log and history are, under a name that no other cell has."""

    kafka: str
    """`host:port`, several with commas."""
    cassandra: str
    """`host:port`"""
    name: str

    def settings(self) -> dict[str, object]:
        """Of servers that keep one copy."""
        return {
            "log": f"kafka://{self.kafka}/{self.name}",
            "history": f"cassandra://{self.cassandra}/{self.name}",
            "few_copies": "true",
            "copies": 1,
        }


class Cell:
    """The processes of one cell: a whole one, or on `engines` also one service each.

    `settings` are for all of them, by their names in lower case. With `tls` clients and links are served over TLS, with
    certificates made for it.
    """

    def __init__(
        self,
        folder: Path,
        engines: Engines | None = None,
        *,
        tls: bool = True,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self._certificates = folder / "certs" if tls else None
        self._shared: dict[str, object] = {
            "data_folder": folder / "data",
            "jwt_secret": SECRET,
            "drain_s": 1,
            **(engines.settings() if engines else {}),
            **self._security(engines is not None),
            **settings,
        }
        self.processes: dict[str, Process] = {}
        self.addresses: list[str] = []
        """Where clients connect."""
        self.metrics_addresses: list[str] = []
        """Where the workers of servers that were asked to tell figures do, in the order in which they were started."""
        self._link_ports: list[str] = []

    def migrate(self) -> None:
        """Make topics and tables."""
        done = subprocess.run(
            [CELL_COMMAND, "migrate"],
            env=environment(self._shared),
            capture_output=True,
            text=True,
            timeout=START_DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def add_whole(self, name: str) -> Process:
        """A whole cell in one process."""
        (port,) = free_ports(1)
        self.addresses.append(f"127.0.0.1:{port}")
        return self._add(name, "run", {"listen": self.addresses[-1]})

    def add_server(self, name: str, workers: int, *, tells_figures: bool = False) -> Process:
        """A messaging server; before delivery services, which must know where to find it."""
        listen, internal = f"127.0.0.1:{free_ports(1)[0]}", free_port_range(workers)
        self.addresses.append(listen)
        self._link_ports.append(f"127.0.0.1:{internal}-{internal + workers - 1}")
        settings = {"listen": listen, "internal_listen": f"127.0.0.1:{internal}", "workers": workers}
        if tells_figures:
            metrics = free_port_range(workers)
            settings["metrics_listen"] = f"127.0.0.1:{metrics}"
            self.metrics_addresses += [f"127.0.0.1:{metrics + worker}" for worker in range(workers)]
        return self._add(name, "messaging-server", settings)

    def add_delivery(self, name: str) -> Process:
        """A delivery service that knows the servers there are."""
        settings = {"internal_listen": _free_address(), "servers": ",".join(self._link_ports)}
        return self._add(name, "delivery-service", settings)

    def add_history(self, name: str) -> Process:
        """A history service."""
        return self._add(name, "history-service", {"internal_listen": _free_address()})

    def check_running(self) -> None:
        """Raises AssertionError where a process has ended by itself."""
        for process in self.processes.values():
            process.check_running()

    def wait_serving(self, *names: str) -> None:
        """Until the health of these processes, or of all, is SERVING: servers have an owner of every partition."""
        end = time.monotonic() + START_DEADLINE_S
        for name in names or self.processes:
            process = self.processes[name]
            while self._health(process) != health_pb2.HealthCheckResponse.SERVING:
                process.check_running()
                assert time.monotonic() < end, f"{name} does not serve:\n{process.tail()}"
                time.sleep(0.1)

    @property
    def authorities(self) -> Path | None:
        """PEM file that clients trust the servers by; None without TLS."""
        return self._certificates / "ca.pem" if self._certificates else None

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """For connections to the servers; None without TLS."""
        return channel_credentials(self.authorities) if self.authorities else None

    def stop(self) -> dict[str, int]:
        """Stop everything in good order: exit codes."""
        return {name: process.stop() for name, process in self.processes.items()}

    def kill(self) -> None:
        """Kill everything."""
        for process in self.processes.values():
            process.kill()

    def _add(self, name: str, command: str, settings: Mapping[str, object]) -> Process:
        process = self.processes[name] = Process(self.folder, name, command, {**self._shared, **settings})
        process.start()
        return process

    def _security(self, has_links: bool) -> dict[str, object]:
        if self._certificates is None:
            return {"insecure": "true"}
        make_for_development(self._certificates, [])
        client: dict[str, object] = {
            "tls_cert_file": self._certificates / "server.pem",
            "tls_key_file": self._certificates / "server.key",
        }
        links = {
            "internal_cert_file": self._certificates / "internal.pem",
            "internal_key_file": self._certificates / "internal.key",
            "internal_ca_file": self._certificates / "ca.pem",
        }
        return client | links if has_links else client

    def _health(self, process: Process) -> int | None:
        with self._channel(process) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status)  # type: ignore[attr-defined]
            except grpc.RpcError:
                return None

    def _channel(self, process: Process) -> grpc.Channel:
        """To where it tells its health: the port for clients of a whole cell, else the internal one."""
        is_whole = "internal_listen" not in process.settings
        address = str(process.settings["listen" if is_whole else "internal_listen"])
        folder = self._certificates
        if folder is None:
            return grpc.insecure_channel(address)
        pair = None if is_whole else KeyPair(folder / "internal.pem", folder / "internal.key")
        return grpc.secure_channel(address, channel_credentials(folder / "ca.pem", pair))


def _free_address() -> str:
    return f"127.0.0.1:{free_ports(1)[0]}"
