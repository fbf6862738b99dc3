"""One Java server as a process: started, waited for, killed and started again on the same data and ports."""

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.run_folder import RunFolder

HOST = "127.0.0.1"
QUICK_START = "-XX:TieredStopAtLevel=1"
"""Saves a server half of its start, and costs what a warm one could do."""
_START_TIMEOUT_S = 120.0
_LOG_TAIL_BYTES = 3_000


class ServerFailed(Exception):
    """A server did not start; the message ends with its last log lines."""


class Server:
    """A process of one server. Its command is fixed, so that a restart finds the same data and ports."""

    def __init__(
        self, run: RunFolder, name: str, command: Sequence[str | Path], answers: Callable[[], bool]
    ) -> None:
        self.name = name
        self.answers = answers
        """Whether it serves now."""
        self.log = run.path / f"{name}.log"
        self._run = run
        self._command = [str(part) for part in command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process; None when it is stopped."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def launch(self) -> None:
        """Start it and return at once."""
        if self.pid is None:
            self._process = self._run.spawn(self.name, self._command)

    def wait_ready(self) -> None:
        """Wait until it serves. Raises ServerFailed where it ends instead, or takes two minutes."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self.answers():
            if self.pid is None:
                raise ServerFailed(f"{self.name} has ended:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} does not answer:\n{self._log_tail()}")
            time.sleep(0.05)

    def start(self) -> None:
        """Start it, or start it again, and wait until it serves."""
        self.launch()
        self.wait_ready()

    def kill(self) -> None:
        """End it at once, as by kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def pause(self) -> None:
        """Let it stand still; its sockets stay open and nothing answers. Returns when it stands."""
        self._signal(signal.SIGSTOP)
        while self.pid is not None and _state(self.pid) != "T":
            time.sleep(0.002)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self.pid is None:
            raise ServerFailed(f"{self.name} does not run")
        self._process.send_signal(number)

    def _log_tail(self) -> str:
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives to clients.

    A port of that range may be taken while its server is down for a moment, even by the client that looks for it: a TCP
    connection to itself.
    """
    ports: list[int] = []
    taken: list[socket.socket] = []
    upper = _first_client_port()
    while len(ports) < count:
        port = random.randrange(max(1_024, upper - 12_000), upper)
        probe = socket.socket()
        taken.append(probe)
        try:
            probe.bind((HOST, port))
        except OSError:
            continue
        ports.append(port)
    for probe in taken:
        probe.close()
    return ports


def free_port_range(count: int) -> int:
    """The first of so many free ports in a row. Raises OSError."""
    for _ in range(1_000):
        (first,) = free_ports(1)
        if first + count <= _first_client_port() and all(
            _is_free(port) for port in range(first, first + count)
        ):
            return first
    raise OSError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def _first_client_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 32_768
