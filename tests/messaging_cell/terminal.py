"""A terminal with a program in it, for tests: a pseudo-terminal that answers as terminals do, and what it was sent."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.messaging_cell.running import CELL, DEADLINE_S, RunningCell, environment, until

_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-B]|\x1b[=>78]")
"""What a program tells a terminal beside text (ECMA-48)."""
_WHERE_IS_THE_CURSOR = "\x1b[6n"


class Terminal:
    """One program and its terminal."""

    def __init__(self, command: Sequence[str], variables: dict[str, str], columns: int) -> None:
        self._keyboard, screen = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen(
            command,
            env=variables,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(screen)
        self.raw = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        with suppress(OSError):  # so does it end
            while data := os.read(self._keyboard, 65_536):
                text = data.decode(errors="replace")
                self.raw += text
                for _ in range(text.count(_WHERE_IS_THE_CURSOR)):
                    os.write(self._keyboard, b"\x1b[1;1R")

    @property
    def text(self) -> str:
        """What was written, without how."""
        return _SEQUENCE.sub("", self.raw)

    def press(self, keys: str, then: str = "") -> None:
        """Press keys, and wait until something is written after that."""
        before = len(self.text)
        os.write(self._keyboard, keys.encode())
        until(lambda: then in self.text[before:], f"{then!r} after {keys!r}")

    def type(self, line: str) -> None:
        self.press(line + "\r")

    def sees(self, text: str) -> None:
        try:
            until(lambda: text in self.text, "it is seen")
        except AssertionError as error:
            raise AssertionError(f"{text!r} in {self.text!r}") from error

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def ends_with(self) -> int:
        """The exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reading.join(DEADLINE_S)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reading.join(DEADLINE_S)
        os.close(self._keyboard)


@contextmanager
def in_terminal(
    cell: RunningCell, *arguments: str, columns: int = 100, **variables: str
) -> Iterator[Terminal]:
    """A `cell` command in a terminal of its own."""
    given = environment(cell.data_folder, CELL_ADDRESS=cell.address, TERM="xterm-256color", **variables)
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if name not in variables:
            given.pop(name, None)
    terminal = Terminal([*CELL, *arguments], given, columns)
    try:
        yield terminal
    finally:
        terminal.close()
