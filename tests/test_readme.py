"""The README's first five minutes, line by line: what is typed there is typed, what is shown there is shown."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.messaging_cell.chatting import Chat
from tests.messaging_cell.running import CELL, DEADLINE_S, RunningCell, environment, until

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).resolve().parent.parent
_TYPED = re.compile(r"(\S*)> (.+)")
_CHAT = re.compile(r"\.venv/bin/cell chat (\w+)")
_CHANGING = (
    (re.compile(r"\d\d:\d\d\b"), "HH:MM"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r'"cursor": "[\w-]+"'), "CURSOR"),
    (re.compile(r"[\d.]+:\d{4,5}, data is in .*"), "ADDRESS AND FOLDER"),
    (re.compile(r"^ {4}\S*cell(?= chat \w+)"), "    CELL"),
    (re.compile(r"(?<= chat )(alice|bob).*"), r"\1"),
)
"""What is another one each time."""


class Block(NamedTuple):
    """Lines of a terminal, and the text before them."""

    text: str
    lines: list[str]


def blocks() -> Iterator[Block]:
    """Those of the section."""
    section = (
        (ROOT / "README.md").read_text("utf-8").split("## The first five minutes\n")[1].split("\n## ")[0]
    )
    text = ""
    for part in re.split(r"\n\n(?=\S|    \$ )|\n\n(?<=:\n\n)", section):
        if part.startswith("    "):
            yield Block(text, [line.removeprefix("    ") for line in part.rstrip().split("\n")])
        else:
            text = part


def plain(line: str) -> str:
    """A line without what is another one each time."""
    for pattern, instead in _CHANGING:
        line = pattern.sub(instead, line)
    return line.rstrip()


def shows(shown: str, expected: list[str]) -> bool:
    """Whether these lines are there, in order; nothing may stand between them but what others have received."""
    lines = [plain(line) for line in shown.splitlines() if "✓ received by" not in line]
    wanted = [plain(line) for line in expected]
    return any(all(map(_fits, lines[start:], wanted)) for start in range(len(lines) - len(wanted) + 1))


def _fits(line: str, wanted: str) -> bool:
    return line.startswith(wanted[:-3].rstrip()) if wanted.endswith("...") else line == wanted


class Reader:
    """Somebody who does what the README says."""

    def __init__(self, cell: RunningCell, leaving: ExitStack) -> None:
        self._cell = cell
        self._leaving = leaving
        self._chats: dict[str, Chat] = {}

    def follow(self, block: Block) -> None:
        command, chat = block.lines[0], _CHAT.search(block.lines[0])
        if not command.startswith("$ "):
            self._go_on(re.findall(r"(\w+)'s terminal", block.text)[0].lower(), block.lines)
        elif "make run" in command:
            until(lambda: shows(self._cell.stdout, block.lines[1:]), f"{block.lines} in {self._cell.stdout}")
        elif chat:
            opened = self._cell.open("chat", chat[1])
            self._chats[chat[1]] = Chat(self._leaving.enter_context(opened))
            self._go_on(chat[1], block.lines[1:])
        elif "examples/bot.py" in command:
            self._leaving.enter_context(self._running(command[2:]))
            until(self._bot_answers, "the bot answers")
        else:
            self._run(command[2:], block.lines[1:])

    def _go_on(self, user: str, lines: list[str]) -> None:
        """Type and look, in a terminal with a chat."""
        chat, expected = self._chats[user], []
        for line in lines:
            if (typed := _TYPED.fullmatch(line)) is None:
                expected.append(line)
                continue
            self._look(chat, expected)
            expected = []
            if typed[1]:  # what is on the screen was read, and the others know that it was
                until(lambda: self._has_read(user), f"{user} has read what there is")
            chat.type(typed[2])
            if typed[2] == "/quit":
                chat.leave()
        self._look(chat, expected)

    def _look(self, chat: Chat, expected: list[str]) -> None:
        until(lambda: shows(chat.shown, expected), f"{expected} in\n{chat.shown}")

    def _has_read(self, user: str) -> bool:
        told = self._cell.run("conversations", user, "--json").stdout.splitlines()
        return not any(json.loads(line)["unread_count"] for line in told)

    def _bot_answers(self) -> bool:
        self._cell.run("send", "bot", "are you there?", "--from", "somebody")
        return "You said" in self._cell.run("history", "somebody", "bot").stdout

    def _run(self, command: str, expected: list[str]) -> None:
        """A command to its end; what reads history, which follows by moments, until it shows it."""
        shown = ""

        def is_so() -> bool:
            nonlocal shown
            shown = self._done(command)
            assert " send " not in command or shows(shown, expected), shown
            return shows(shown, expected)

        until(is_so, f"{expected} of {command}, not {shown}")

    def _done(self, command: str) -> str:
        done = subprocess.run(
            self._local(command),
            shell=True,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        return done.stdout

    @contextmanager
    def _running(self, command: str) -> Iterator[None]:
        process = subprocess.Popen(
            "exec env " + self._local(command), shell=True, env=self._environment(), cwd=ROOT
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def _environment(self) -> dict[str, str]:
        return environment(self._cell.data_folder, CELL_ADDRESS=self._cell.address, COLUMNS="200")

    def _local(self, command: str) -> str:
        """As it is called here, and at the time when the first message was sent."""
        here = {"cell": shlex.join(CELL), "python": sys.executable}
        command = re.sub(r"\.venv/bin/(cell|python)\b", lambda found: here[found[1]], command)
        if "--at" not in command:
            return command
        first = json.loads(self._cell.run("history", "alice", "bob", "--json").stdout.splitlines()[0])
        return re.sub(r'(?<=--at )"[^"]*"', first["message"]["ref"]["sent_at"][:16] + "Z", command)


def test_the_first_five_minutes_are_as_the_readme_tells_them(tmp_path: Path) -> None:
    """From `make run` to a bot that answers in a chat, and the commands for scripts: typed as it stands there."""
    followed = 0
    with RunningCell(tmp_path) as cell, ExitStack() as leaving:
        reader = Reader(cell, leaving)
        for block in blocks():
            reader.follow(block)
            followed += 1
        for process in reader._chats.values():
            assert process.process.poll() is not None, "the README leaves every chat"
    assert followed >= 14


@pytest.mark.parametrize("shown", ["", "a\nx\nb", "b\na", "ab"])
def test_what_is_shown_otherwise_is_noticed(shown: str) -> None:
    """Missing, in another order, or with something between."""
    assert not shows(shown, ["a", "b"])
    assert shows("x\na\n          ✓ received by bob\nb\n", ["a", "b"])


def test_the_readme_needs_nothing_but_what_make_sets_up() -> None:
    """Every command of the first five minutes is make, or from the environment that it made, or the shell's own."""
    for block in blocks():
        for line in block.lines:
            if line.startswith("$ "):
                assert re.search(r"^\$ make run$|\.venv/bin/", line), line
    assert os.access(ROOT / "examples/bot.py", os.R_OK)
