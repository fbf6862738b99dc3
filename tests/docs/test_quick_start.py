"""docs/quick_start.md runs as it stands: its files, its commands, in its order."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cell_process import free_port

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "quick_start.md"
DEADLINE_S = 60.0
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.timeout(240)


class Reader:
    """Somebody who follows the document, in a folder, on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"50051": str(free_port()), "8800": str(free_port())}
        self.commands: list[str] = []
        self._running: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CELL_")},
            "CELL_ADDRESS": f"127.0.0.1:{self.ports['50051']}",
            "CELL_DATA_FOLDER": str(folder / "data"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "COLUMNS": "200",
        }
        (folder / ".venv").mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        self._read()

    def _read(self) -> None:
        text = DOCUMENT.read_text("utf-8")
        for documented, free in self.ports.items():
            text = text.replace(documented, free)
        for language, block in _FENCED.findall(text):
            if language == "python":
                name = block.splitlines()[0].removeprefix("# ")
                assert name.endswith(".py"), "the first line of a program names its file"
                (self.folder / name).write_text(block)
            else:
                assert language == "sh"
                self.commands.append(block)

    def command(self, words: str) -> str:
        """The command block with these words; each is run once."""
        (found,) = [command for command in self.commands if words in command]
        self.commands.remove(found)
        # curl need not be on a machine that runs the tests
        return found.replace("curl -s", f"{sys.executable} get.py")

    def run(self, words: str) -> str:
        """Its output. Raises where it fails."""
        (self.folder / "get.py").write_text(
            "import sys, urllib.request as r\nprint(r.urlopen(sys.argv[1]).read().decode())"
        )
        script = f"set -eu\n{self.command(words)}"
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, words: str) -> Path:
        """Start what runs on; gives the file that its output goes to."""
        output = self.folder / f"output-{len(self._running)}"
        command = self.command(words).replace("\\\n", " ").split()
        with output.open("wb") as file:
            started = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self._environment, "CELL_LISTEN": self._environment["CELL_ADDRESS"]}
                if "run" in command
                else self._environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._running.append(started)
        return output

    def until_output(self, file: Path, *expected: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not all(text in file.read_text() for text in expected):
            assert time.monotonic() < end, f"{expected} not in: {file.read_text()}"
            assert all(process.poll() is None for process in self._running), file.read_text()
            time.sleep(0.05)

    def close(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reading = Reader(tmp_path)
    try:
        yield reading
    finally:
        reading.close()


def test_the_quick_start_works(reader: Reader) -> None:
    """From a provider to a push: every program and every command in the document does what it says, and none is left out."""
    reader.start("provider.py")
    wait_for_port(int(reader.ports["8800"]))
    cell = reader.start("cell run")
    reader.until_output(cell, "Clients connect to")
    assert "Development mode" not in cell.read_text()
    assert reader.run("cell send bob").startswith("accepted: ")
    pushes = reader.start("bridge.py")
    reader.until_output(pushes, "watching for ann", "watching for bob")
    app = reader.start("app.py bob")
    reader.until_output(app, "ann: 1 unread")
    assert reader.run("backend.py") == "ordered\n"
    reader.until_output(pushes, "push to ann: orders wrote to you")
    assert reader.commands == []


def wait_for_port(port: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
