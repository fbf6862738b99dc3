"""`cell listen`: events as they come."""

import json
from pathlib import Path

from tests.messaging_cell.running import DEADLINE_S, RunningCell


def test_a_pipe_that_ends_ends_listening_quietly(cell: RunningCell) -> None:
    """`cell listen | head -1`: the next line finds nobody, and that is no error; each line was there at once."""
    with cell.open("listen", "bob20", "--json") as listening:
        assert listening.stderr is not None
        assert listening.stdout is not None
        listening.stderr.readline()
        cell.run("send", "bob20", "one", "--from", "ann20")
        assert json.loads(listening.stdout.readline())["message"]["content"]["text"] == "one"
        listening.stdout.close()
        cell.run("send", "bob20", "two", "--from", "ann20")
        assert listening.stderr.read() == ""
        assert listening.wait(DEADLINE_S) == 141


def test_listening_says_when_the_cell_is_away(tmp_path: Path) -> None:
    """It goes on when the cell is back, and misses nothing; what it prints does not count as received."""
    with RunningCell(tmp_path) as cell, cell.open("listen", "bob", "--json") as listening:
        assert listening.stderr is not None
        assert listening.stdout is not None
        assert "listening to bob" in listening.stderr.readline()
        cell.kill()
        assert "no connection" in listening.stderr.readline()
        cell.start()
        cell.run("send", "bob", "hello", "--from", "ann")
        assert json.loads(listening.stdout.readline())["message"]["content"]["text"] == "hello"
        assert "connected again" in listening.stderr.readline()
        told = json.loads(cell.run("conversations", "ann", "--json").stdout)
        assert "received_through" not in str(told)
