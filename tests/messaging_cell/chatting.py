"""A chat whose lines can be typed and watched while it goes on."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.messaging_cell.running import DEADLINE_S, RunningCell, until


class Chat:
    """`cell chat` on pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.shown = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.shown += line

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def sees(self, text: str, times: int = 1) -> None:
        until(lambda: self.shown.count(text) >= times, f"{text!r} in {self.shown!r}")
        assert self.shown.count(text) == times

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(DEADLINE_S) == 0
        self._reading.join(DEADLINE_S)


@contextmanager
def chatting(cell: RunningCell, *arguments: str) -> Iterator[Chat]:
    """A chat that is over at the end, and has said nothing on standard error."""
    with cell.open("chat", *arguments) as process:
        yield Chat(process)
        assert process.stderr is not None
        if process.poll() is not None:
            assert process.stderr.read() == ""
