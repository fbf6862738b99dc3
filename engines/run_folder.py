"""A folder for one run of the servers, and the process that watches over it.

Whoever starts servers holds one end of a pipe; the watchdog, a process of its own, the other. When the pipe ends, because
the run is over or because whoever started it died, however that was, the watchdog stops the servers and deletes the folder.
Should the watchdog have been killed too, the next run does it: a folder that nobody has locked is nobody's.

A process is known by its pid file and by the folder's path in its command line, so that no other process that was given
the same id later is taken for it.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_PREFIX = f"messaging-cell-engines-{os.getuid()}-"
_LOCK = "lock"
_PATIENCE_S = 10.0


class RunFolder:
    """Data, configuration, logs and pid files of the servers of one run. Made by `create`."""

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        command = [sys.executable, str(Path(__file__).resolve()), str(path)]
        self._watchdog = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[lock.fileno()], start_new_session=True, cwd="/"
        )
        lock.close()  # the watchdog's copy holds it from now on
        self._started: list[subprocess.Popen[bytes]] = []

    @classmethod
    def create(cls) -> "RunFolder":
        """A new folder; what earlier runs that crashed have left is stopped and deleted first."""
        for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            sweep(left)
        unnamed = Path(tempfile.mkdtemp(prefix=f"new-{_PREFIX}"))
        lock = (unnamed / _LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = unnamed.with_name(unnamed.name.removeprefix("new-"))
        unnamed.rename(path)  # under its name it is never seen without a lock
        return cls(path, lock)

    def new_folder(self, name: str) -> Path:
        """An empty folder here for a server of this name, of which there may be several."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.path))

    def spawn(self, name: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a server, which writes `NAME.log` here. The path of this folder must be in its command."""
        if not any(str(self.path) in part for part in command):
            raise ValueError(f"{name} could not be told from other processes: {command}")
        # The process id is in its file before there is a server that would have to be found by it. Where the folder has
        # gone with whoever started this, the file cannot be written, and there will be no server.
        start = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / f"{name}.pid"), *command]
        with (self.path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                start,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.path,
                start_new_session=True,  # Ctrl-C is for whoever started it
            )
        self._started.append(process)
        while process_of(self.path / f"{name}.pid") != process.pid and process.poll() is None:
            time.sleep(0.002)
        return process

    def close(self) -> None:
        """Stop all that still runs and delete the folder. Returns when that is done."""
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()
        for process in self._started:
            process.wait()


def process_of(pid_file: Path) -> int | None:
    """The id of the process that wrote this file, if it still runs."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(pid_file.parent) in command else None


def sweep(folder: Path) -> None:
    """Stop and delete what a run has left, if its watchdog is gone too."""
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clear(folder)
    except OSError:
        return  # watched over, or gone in the meantime


def clear(folder: Path) -> None:
    """Kill the servers whose pid files are here, and delete the folder. What they have is temporary."""
    deadline = time.monotonic() + _PATIENCE_S
    while running := [pid for file in folder.glob("*.pid") if (pid := process_of(file))]:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """The watchdog: wait until whoever started it is gone. It outlives Ctrl-C, which is meant for that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.read()
    clear(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
