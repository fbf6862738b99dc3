"""A cell on the embedded engine, ready to be broken: one process, on a disk of its own where the machine lets it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from check.cells import SECRET
from check.faults.clock import Clock
from check.faults.own_disk import NoOwnDisk, OwnDisk
from check.faults.parts import Part, Parts
from check.faults.proxy import Network
from check.faults.schedule import Kind
from check.processes import Process
from engines.server import HOST, free_ports

CELL = "cell"
WINDOW_BYTES = 1 << 17
"""So little memory for recent events that a client which was away for long is told from history."""

_KINDS = {
    "kill": Kind((CELL,), 0.0, 2.0),
    "freeze": Kind((CELL,), 0.5, 9.0, rest_s=8.0),
    "restart": Kind((CELL,), 0.0, 1.0, rest_s=9.0),
    "cut": Kind(("clients-1", "clients-2"), 1.0, 8.0),
    "hold": Kind(("clients-1", "clients-2"), 1.0, 9.0),
    "slow": Kind(("clients-1", "clients-2"), 2.0, 8.0),
    "clock": Kind((CELL,), 2.0, 8.0),
    "roll": Kind(("all",), 0.0, 1.0, only_asked=True),
}
_DISK_KINDS = {
    "full disk": Kind((CELL,), 2.0, 8.0),
    "power loss": Kind((CELL,), 0.0, 2.0),
}


@contextmanager
def cell(folder: Path, network: Network) -> Iterator[Parts]:
    """Its parts; nothing runs yet, and nothing may when this ends."""
    parts = _make(folder, network)
    try:
        yield parts
    finally:
        if parts.disk is not None:
            parts.disk.unmount()


def _make(folder: Path, network: Network) -> Parts:
    (port,) = free_ports(1)
    address = f"{HOST}:{port}"
    proxies = [network.proxy(address) for _ in range(2)]
    clock = Clock(folder / "clock")
    parts = Parts(kinds=_KINDS)
    data = folder / "disk"
    try:
        parts.disk = OwnDisk(folder / "disk.image", data)
        parts.kinds = {**_KINDS, **_DISK_KINDS}
    except NoOwnDisk as why:
        parts.notes.append(f"no full disk and no loss of power: {why}")
    settings = {
        "listen": address,
        "data_folder": data / "data",
        "jwt_secret": SECRET,
        "insecure": "true",
        "drain_s": 2,
        "window_bytes": WINDOW_BYTES,
    }
    process = Process(folder, CELL, "run", settings, clock.variables)
    parts.processes[CELL] = Part(process, [address])
    parts.networks = {f"clients-{number}": [proxy] for number, proxy in enumerate(proxies, 1)}
    parts.clocks[CELL] = clock
    parts.addresses = [proxy.address for proxy in proxies]
    return parts
