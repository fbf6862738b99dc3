"""A cell of many processes on three brokers and Cassandra, ready to be broken: a proxy between any two that talk.

Two messaging servers with two workers each, two delivery services and two history services. Brokers tell the cell to find
them at their proxies, so that the network to each of them can be broken; that among the brokers is left alone.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from check.cells import SECRET
from check.faults.clock import Clock
from check.faults.parts import EngineServer, Part, Parts
from check.faults.proxy import Network
from check.faults.schedule import Kind
from check.processes import CELL_COMMAND, Process, environment
from engines.cassandra import CassandraNode
from engines.kafka import FRONT, KafkaCluster
from engines.run_folder import RunFolder
from engines.server import HOST, free_port_range, free_ports

SERVERS = ("server-1", "server-2")
DELIVERIES = ("delivery-1", "delivery-2")
HISTORIES = ("history-1", "history-2")
BROKERS = ("broker-1", "broker-2", "broker-3")
CASSANDRA = "cassandra"
WORKERS = 2
PARTITIONS = 8
WINDOW_BYTES = 1 << 17
_SYNCED = {"commitlog_sync": "batch", "commitlog_sync_period": "0ms"}
"""One node stands for the three of a real cell, of which a quorum has each row: so it syncs before it answers. Otherwise a
kill -9 takes what came after the last mark in its commit log, which is all that it replays."""
_NAME = "faults"
_MIGRATE_S = 120.0

_CLIENTS = ("clients of server-1", "clients of server-2")
_LINKS = ("links of delivery-1", "links of delivery-2")
_KAFKA = tuple(f"network of {broker}" for broker in BROKERS)
_CASSANDRA = ("network of cassandra",)
_PROCESSES = {"server": SERVERS, "delivery": DELIVERIES, "history": HISTORIES}
_NETWORKS = {"clients": _CLIENTS, "links": _LINKS, "kafka": _KAFKA, "cassandra": _CASSANDRA}

_KINDS = {
    **{f"kill {role}": Kind(names, 0.0, 3.0, rest_s=8.0) for role, names in _PROCESSES.items()},
    **{f"freeze {role}": Kind(names, 0.5, 9.0, rest_s=8.0) for role, names in _PROCESSES.items()},
    **{f"restart {role}": Kind(names, 0.0, 1.0, rest_s=10.0) for role, names in _PROCESSES.items()},
    "worker kill": Kind(SERVERS, 0.0, 0.5),
    "kill broker": Kind(BROKERS, 0.0, 5.0, rest_s=14.0),
    "freeze broker": Kind(BROKERS, 0.5, 9.0, rest_s=8.0),
    "kill cassandra": Kind((CASSANDRA,), 0.0, 3.0, rest_s=14.0),
    "freeze cassandra": Kind((CASSANDRA,), 0.5, 9.0),
    **{f"cut {where}": Kind(names, 1.0, 8.0) for where, names in _NETWORKS.items()},
    **{f"hold {where}": Kind(names, 1.0, 9.0) for where, names in _NETWORKS.items()},
    **{f"slow {where}": Kind(names, 2.0, 8.0) for where, names in _NETWORKS.items()},
    "clock": Kind(SERVERS, 2.0, 8.0),
    "roll": Kind(("all",), 0.0, 1.0, rest_s=60.0, only_asked=True),
}


@contextmanager
def cell(folder: Path, network: Network) -> Iterator[Parts]:
    """Its parts; brokers and Cassandra run, nothing else. Raises EnginesMissing, ServerFailed."""
    run = RunFolder.create()
    try:
        yield _make(folder, network, run)
    finally:
        run.close()


def _make(folder: Path, network: Network, run: RunFolder) -> Parts:
    parts = Parts(kinds=_KINDS)
    engines = _engines(parts, network, run)
    _migrate(engines)
    shared: dict[str, object] = {
        **engines,
        "data_folder": folder / "data",
        "partitions": PARTITIONS,
        "few_copies": "true",  # of Cassandra, which is one node
        "jwt_secret": SECRET,
        "insecure": "true",
        "drain_s": 2,
        "window_bytes": WINDOW_BYTES,
    }
    workers = [address for name in SERVERS for address in _server(parts, folder, network, name, shared)]
    for name, links in zip(DELIVERIES, _LINKS, strict=True):
        parts.networks[links] = [network.proxy(address) for address in workers]
        servers = ",".join(proxy.address for proxy in parts.networks[links])
        _service(parts, folder, name, "delivery-service", {**shared, "servers": servers})
    for name in HISTORIES:
        _service(parts, folder, name, "history-service", shared)
    return parts


def _engines(parts: Parts, network: Network, run: RunFolder) -> dict[str, object]:
    """Start them; the settings that name them, by their proxies."""
    ports = free_ports(len(BROKERS))
    kafka, cassandra = (
        KafkaCluster(run, len(BROKERS), front_ports=ports),
        CassandraNode(run, settings=_SYNCED),
    )
    for name, where, address, port in zip(BROKERS, _KAFKA, kafka.addresses(FRONT), ports, strict=True):
        parts.networks[where] = [network.proxy(address, port)]
        parts.engines[name] = EngineServer(kafka.brokers[BROKERS.index(name)])
    parts.networks[_CASSANDRA[0]] = [network.proxy(cassandra.address)]
    parts.engines[CASSANDRA] = EngineServer(cassandra.server)
    cassandra.server.launch()
    kafka.start()
    cassandra.start()
    brokers = ",".join(f"{HOST}:{port}" for port in ports)
    return {
        "log": f"kafka://{brokers}/{_NAME}",
        "history": f"cassandra://{parts.networks[_CASSANDRA[0]][0].address}/{_NAME}",
    }


def _migrate(engines: Mapping[str, object]) -> None:
    """Three copies of the log, and one of history."""
    for name, copies in (("log", len(BROKERS)), ("history", 1)):
        settings = {
            name: engines[name],
            "copies": copies,
            "partitions": PARTITIONS,
            "few_copies": str(copies == 1).lower(),
        }
        ran = subprocess.run(
            [CELL_COMMAND, "migrate"],
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=_MIGRATE_S,
            check=False,
        )
        if ran.returncode:
            raise RuntimeError(f"cell migrate: {ran.stdout}{ran.stderr}")


def _server(
    parts: Parts, folder: Path, network: Network, name: str, shared: Mapping[str, object]
) -> list[str]:
    """A messaging server; the addresses of its workers."""
    (port,) = free_ports(1)
    first = free_port_range(WORKERS)
    workers = [f"{HOST}:{first + at}" for at in range(WORKERS)]
    settings = {**shared, "listen": f"{HOST}:{port}", "internal_listen": workers[0], "workers": WORKERS}
    parts.clocks[name] = Clock(folder / f"{name}.clock")
    process = Process(folder, name, "messaging-server", settings, parts.clocks[name].variables)
    parts.processes[name] = Part(process, workers)
    proxy = network.proxy(f"{HOST}:{port}")
    parts.networks[f"clients of {name}"] = [proxy]
    parts.addresses.append(proxy.address)
    return workers


def _service(parts: Parts, folder: Path, name: str, command: str, settings: Mapping[str, object]) -> None:
    (port,) = free_ports(1)
    address = f"{HOST}:{port}"
    process = Process(folder, name, command, {**settings, "internal_listen": address})
    parts.processes[name] = Part(process, [address])
