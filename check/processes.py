"""One `cell` command as a process: started, killed, frozen, stopped, and started again on the same settings."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

CELL_COMMAND = Path(sys.executable).parent / "cell"
STOP_DEADLINE_S = 60.0
_TAIL_CHARACTERS = 3_000


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """The variables of a process with these settings, by their names in lower case, and nothing of another cell's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELL_")}
    return kept | {f"CELL_{name.upper()}": str(value) for name, value in settings.items()}


class Process:
    """One `cell` command that goes on. It writes `NAME.log` in the folder."""

    def __init__(
        self,
        folder: Path,
        name: str,
        command: str,
        settings: Mapping[str, object],
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.settings = settings
        self.starts = 0
        self._log = folder / f"{name}.log"
        self._command = command
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting until it serves."""
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [CELL_COMMAND, self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.settings) | dict(self._variables),
                start_new_session=True,  # Ctrl-C is for whoever started it
            )

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def workers(self) -> list[int]:
        """Process ids of a messaging server's workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def all_pids(self) -> list[int]:
        """Its own id, then those of its workers; none where it does not run."""
        return [self.pid, *self.workers()] if self.is_running else []

    def kill(self) -> None:
        """Kill -9, with its workers."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its workers, to it first."""
        for pid in self.all_pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # a worker that ended in this moment

    def stop(self) -> int:
        """Stop it in good order; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_DEADLINE_S)

    def check_running(self) -> None:
        """Raises AssertionError where it has ended."""
        assert self.is_running, f"{self.name} has ended:\n{self.tail()}"

    def tail(self) -> str:
        """What it wrote last."""
        return self._log.read_text(errors="replace")[-_TAIL_CHARACTERS:]
