"""`cell` commands as processes of their own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

CELL = [sys.executable, "-m", "messaging_cell.command"]
DEADLINE_S = 50.0
SERVING = re.compile(r"Clients connect to (\S+),")


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """This process's, with nothing of anyone's cell but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELL_", "GRPC_"))}
    return {
        **kept,
        "CELL_DATA_FOLDER": str(folder),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COLUMNS": "100",
        **variables,
    }


def until(is_so: Callable[[], object], what: str) -> None:
    """Poll, generously."""
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > end:
            raise AssertionError(f"not within {DEADLINE_S} s: {what}")
        time.sleep(0.02)


class RunningCell:
    """`cell run` on a folder, and other commands that talk to it."""

    def __init__(self, folder: Path, *flags: str, **variables: str) -> None:
        self.folder = folder
        self.data_folder = folder / "data"
        self.address = "127.0.0.1:0"
        self._flags = flags
        self._variables = variables
        self._starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def stdout(self) -> str:
        return (self.folder / f"stdout{self._starts}").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / f"stderr{self._starts}").read_text()

    def start(self, command: Sequence[str] = (*CELL, "run")) -> None:
        """Start, and wait until it serves; again on the same port."""
        self._starts += 1
        with (
            (self.folder / f"stdout{self._starts}").open("wb") as out,
            (self.folder / f"stderr{self._starts}").open("wb") as err,
        ):
            self.process = subprocess.Popen(
                [*command, "--listen", self.address, *self._flags],
                env=environment(self.data_folder, **self._variables),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )
        try:
            until(lambda: "Ctrl-C" in self.stdout or self.process.poll() is not None, "it serves")
            found = SERVING.search(self.stdout)
            assert found, self.stderr
            self.address = found[1]
        except BaseException:
            self.kill()
            raise

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """Kill -9."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def run(self, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Another command, to its end."""
        return run(self.data_folder, *arguments, given=given, **{"CELL_ADDRESS": self.address, **variables})

    @contextmanager
    def open(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Another command, that goes on until the block is left."""
        process = subprocess.Popen(
            [*CELL, *arguments],
            env=environment(self.data_folder, CELL_ADDRESS=self.address),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def run(folder: Path, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A command without a running cell."""
    return subprocess.run(
        [*CELL, *arguments],
        env=environment(folder, **variables),
        input=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def assert_said(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """How a command ended that could not do what was asked: its code, a few words, and no traceback."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    for words in said:
        assert words in " ".join(re.sub("[│╭╰╮╯─]", " ", done.stderr).split())
    assert "Traceback" not in done.stderr
