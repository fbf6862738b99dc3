"""The examples do what they say, each run as a program of its own against a real cell."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from messaging_client import Client, NewMessage
from tests.system.cell_process import CellProcess, token

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LONG_S = 60.0

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellProcess]:
    with CellProcess(tmp_path_factory.mktemp("cell")) as running:
        yield running


@contextmanager
def example(
    name: str, cell: CellProcess, user_id: str, folder: Path, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A running example; what it prints goes into the file `output`."""
    (folder / "token").write_text(token(user_id))
    given = {
        "CELL_ADDRESS": cell.address,
        "CELL_TOKEN": token(user_id),
        "CELL_TOKEN_FILE": str(folder / "token"),
    }
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env=os.environ | given,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until_output(folder: Path, *expected: str) -> str:
    async with asyncio.timeout(LONG_S):
        while not all(text in (output := (folder / "output").read_text()) for text in expected):
            await asyncio.sleep(0.05)
    return output


async def until_answered(client: Client, question: str, answer: str) -> NewMessage:
    """The answer to a message, which is sent until somebody is there: a bot answers only what comes after its start."""
    waiting = asyncio.create_task(next_answer(client, answer))
    async with asyncio.timeout(LONG_S):
        while not waiting.done():
            await client.send(question, to="bot")
            await asyncio.wait([waiting], timeout=1.0)
    return waiting.result()


async def next_answer(client: Client, text: str) -> NewMessage:
    async for event in client.events():
        if isinstance(event, NewMessage) and not event.mine and event.message.text == text:
            return event
    raise AssertionError("the client was closed")


def test_the_bot_has_ten_lines() -> None:
    """Docstring, imports and blank lines not counted."""
    source = (EXAMPLES / "bot.py").read_text().splitlines()
    body = [line for line in source if line and '"""' not in line]
    assert len([line for line in body if not line.startswith(("import", "from"))]) <= 10


async def test_the_bot_answers(cell: CellProcess, tmp_path: Path) -> None:
    """Whoever writes to it gets an answer, as a reply."""
    with example("bot.py", cell, "bot", tmp_path):
        async with Client(cell.address, token("asker")) as client:
            answer = await until_answered(client, "hello", "You said: hello")
            assert answer.message.reply_to is not None
            assert answer.message.sender_id == "bot"


async def test_the_echo_service_answers_once_although_it_is_killed(cell: CellProcess, tmp_path: Path) -> None:
    """Kill -9 in the midst of its work: each message has exactly one echo."""
    async with Client(cell.address, token("caller")) as client:
        got: list[str] = []

        async def listen() -> None:
            async for event in client.events():
                if isinstance(event, NewMessage) and not event.mine:
                    got.append(event.message.text)

        listening = asyncio.create_task(listen())
        with example("echo_service.py", cell, "echo", tmp_path, "echo.db"):
            async with asyncio.timeout(LONG_S):
                while not got:  # its first start is from now on
                    await client.send("are you there?", to="echo")
                    await asyncio.sleep(0.3)
        for round_number in range(3):
            with example("echo_service.py", cell, "echo", tmp_path, "echo.db"):
                for n in range(10):
                    await client.send(f"{round_number} {n}", to="echo")
                await asyncio.sleep(0.1 * round_number)
        with example("echo_service.py", cell, "echo", tmp_path, "echo.db") as process:
            await client.send("the end", to="echo")
            async with asyncio.timeout(LONG_S):
                while "the end" not in got:
                    await asyncio.sleep(0.05)
            process.terminate()
            assert await asyncio.to_thread(process.wait, LONG_S) == 0
        listening.cancel()
        echoes = [text for text in got if text != "are you there?"]
        wanted = [f"{round_number} {n}" for round_number in range(3) for n in range(10)]
        assert echoes == [*wanted, "the end"]


async def test_threads_share_a_client(cell: CellProcess, tmp_path: Path) -> None:
    """A program that is not async sends from three threads, and ends by itself."""
    async with Client(cell.address, token("hearer")) as client:
        await client.online()
        with example("from_threads.py", cell, "threads", tmp_path, "hearer", "hello") as process:
            assert await asyncio.to_thread(process.wait, LONG_S) == 0, (tmp_path / "output").read_text()
        async with asyncio.timeout(LONG_S):
            got = {await next_text(client) for _ in range(3)}
    assert got == {"hello (1)", "hello (2)", "hello (3)"}
    assert (tmp_path / "output").read_text().count("accepted as") == 3


async def next_text(client: Client) -> str:
    async for event in client.events():
        if isinstance(event, NewMessage):
            return event.message.text
    raise AssertionError("the client was closed")


async def test_the_notifier_tells_what_is_unread_and_what_comes(cell: CellProcess, tmp_path: Path) -> None:
    """First the conversations with unread messages, then each message, with a bell."""
    async with Client(cell.address, token("writer")) as client:
        await client.send("early", to="reader")
        async with asyncio.timeout(LONG_S):
            while not [each async for each in client.conversations()]:
                await asyncio.sleep(0.05)
        with example("notifier.py", cell, "reader", tmp_path):
            await until_output(tmp_path, "1 unread from writer")
            await client.send("late", to="reader")
            output = await until_output(tmp_path, "writer: late")
            assert "\a" in output
