"""Workers: processes of one messaging server that share its port for clients, watched over by one that does nothing else.

A Python process is one core. Each worker has an internal port of its own, from `internal_listen` on, and is to the rest of
the cell a server like any other. Workers are started as programs, never forked: grpc does not survive that.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import structlog

from messaging_cell.setting_kinds import Address
from messaging_cell.setting_sources import variable
from messaging_cell.settings import Settings, SettingsRefused

_RESTART_PAUSE_S = 1.0
"""Between starts of a worker that ends again and again."""
_START_S = 30.0
"""Workers that all refuse in this time will refuse again: a setting is wrong, or an engine does not fit or answer."""
_PR_SET_PDEATHSIG = 1
_WATCHER = "MESSAGING_CELL_WATCHED_BY"
"""Set for workers alone: the process id of whoever watches over them. No setting, so not one of CELL_*."""

_log = structlog.get_logger(__name__)


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Run the command once for each worker until stopped; a worker that ends by itself is started again.

    Returns the exit code: that of a worker that refuses to start, else 0. Raises SettingsRefused where the port for clients
    cannot be taken.
    """
    with _reserved(settings.listen) as port:
        listen = Address(settings.listen.host, port.getsockname()[1])
        return Workers(settings, listen, [sys.executable, "-m", "messaging_cell.command", *arguments]).run()


def end_with_parent() -> None:
    """Let a worker be stopped when whoever watches over it is gone, however that was; not where nobody watches.

    Raises SystemExit where that one is gone already. On Linux; elsewhere a worker lives on.
    """
    watcher = os.environ.get(_WATCHER)
    if watcher is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != watcher:  # it was gone before it could be told from
        raise SystemExit("cell: whoever watched over this worker is gone")


class Workers:
    """Runs a command in as many processes as the settings say, with flags of its own for each."""

    def __init__(self, settings: Settings, listen: Address, command: Sequence[str]) -> None:
        self._settings = settings
        self._listen = listen
        self._command = command
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}
        self._stopping = False

    def run(self) -> int:
        """Until stopped. Returns the exit code, as `run` above. Takes the signals of the process, in its main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        for worker in range(self._settings.workers):
            if not self._stopping:
                self._start(worker)
        code = 0
        while self._processes:
            worker, ended = self._next_end()
            if self._stopping:
                continue
            if ended > 0 and self._all_are_new():
                _log.error("worker_does_not_start", worker=worker, exit_code=ended)
                code = ended
                self._stop(signal.SIGTERM)
                continue
            _log.error("worker_ended", worker=worker, exit_code=ended)
            time.sleep(max(0.0, self._started[worker] + _RESTART_PAUSE_S - time.monotonic()))
            if not self._stopping:
                self._start(worker)
        return code

    def _all_are_new(self) -> bool:
        """Whether none has lasted yet, to say that the settings are right and something is only away for now."""
        return time.monotonic() - min(self._started.values()) < _START_S

    def _next_end(self) -> tuple[int, int]:
        """Wait until a worker has ended; which, and its exit code."""
        while True:
            # As the first process of a container it has children that it did not start, too.
            pid, status = os.wait()
            for worker, process in self._processes.items():
                if process.pid == pid:
                    del self._processes[worker]
                    process.returncode = os.waitstatus_to_exitcode(status)
                    return worker, process.returncode

    def _start(self, worker: int) -> None:
        internal = self._settings.internal_listen
        own = {
            "workers": "1",
            "shared_port": "true",
            "listen": str(self._listen),
            "internal_listen": str(internal._replace(port=internal.port + worker)),
            "max_streams": str(max(1, self._settings.max_streams // self._settings.workers)),
        }
        if metrics := self._settings.metrics_listen:
            own["metrics_listen"] = str(metrics._replace(port=metrics.port + worker))
        if self._settings.server_id:
            own["server_id"] = f"{self._settings.server_id[:61]}-{worker}"
        flags = [word for name, value in own.items() for word in ("--" + name.replace("_", "-"), value)]
        self._started[worker] = time.monotonic()
        # In a session of its own, so that a Ctrl-C in the terminal comes by way of this process, and once.
        process = subprocess.Popen(
            [*self._command, *flags],
            env={**os.environ, _WATCHER: str(os.getpid())},
            start_new_session=True,
        )
        self._processes[worker] = process
        if self._stopping:  # the signal came meanwhile, and could not be passed on to this one
            _tell(process, signal.SIGTERM)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        """Workers are stopped, or by a second signal ended, as this process is asked to."""
        self._stop(signal.Signals(number))

    def _stop(self, number: signal.Signals) -> None:
        self._stopping = True
        for process in self._processes.values():
            _tell(process, number)


def _tell(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Not by `send_signal`, which would take the end of a process from those who wait for it."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, number)


def _reserved(listen: Address) -> socket.socket:
    """A socket that keeps the port for the workers and takes no connections itself."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        reserved = socket.socket(family, kind, protocol)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(target)
    except OSError as error:
        raise SettingsRefused(
            [f"{variable('listen')}: cannot listen on {listen}: {error.strerror or error}."]
        ) from error
    return reserved
