"""An application on the SDK that is killed at random points, on a cell that is killed too: each input is answered once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from check.history_pages import all_messages, events_at_least, with_users
from check.ledger import Ledger, is_message, once_violations, session_violations, without_marks
from check.plain_client import PlainClient
from check.plain_outbox import text_message
from messaging_client.store import FileStore
from tests.system.cell_process import CellProcess, token

KILLS = 24
ASKERS = ("ann", "ben", "eve")
SERVICE = Path(__file__).resolve().parents[2] / "examples" / "echo_service.py"
SEED = int(os.environ.get("KILL_SEED", "20261121"))


class Service:
    """The echo service in a process of its own, on one store. `with` always ends it."""

    def __init__(self, cell: CellProcess, folder: Path) -> None:
        folder.mkdir()
        self.store = folder / "echo.db"
        self._output = folder / "output"
        self._token_file = folder / "token"
        self._token_file.write_text(token("echo"))
        self._address = cell.address
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        given = {"CELL_ADDRESS": self._address, "CELL_TOKEN_FILE": str(self._token_file)}
        self.starts += 1
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVICE), str(self.store)],
                env=os.environ | given,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """Kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Let it end by itself: with whatever it has posted sent."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    @property
    def output(self) -> str:
        return self._output.read_text()


class Asking:
    """Users who write to the service, in bursts, until they are told to stop."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._stop = asyncio.Event()
        self.asked: dict[str, list[str]] = {user: [] for user in ASKERS}
        """Ids of what was accepted, in the order in which it was sent."""

    async def ask(self, client: PlainClient) -> None:
        while not self._stop.is_set():
            for _ in range(self._chance.randrange(1, 12)):
                await self.ask_once(client, f"{self._chance.random()}")
            await asyncio.sleep(self._chance.random() * 0.3)

    async def ask_once(self, client: PlainClient, text: str) -> None:
        submission = await client.done(text_message(text, ["echo"]))
        self.asked[client.user_id].append(submission.id)

    def stop(self) -> None:
        self._stop.set()


def answers(ledger: Ledger) -> list[str]:
    """Which messages the service has answered, in the order of its answers."""
    messages = (event.message for event in ledger.events if is_message(event))
    return [each.reply_to.message_id for each in messages if each.ref.sender_id == "echo"]


async def kill_at_random(
    service: Service, cell: CellProcess, chance: random.Random, clients: Sequence[PlainClient]
) -> None:
    """While it starts, when it has just begun to answer, or in the midst of its work; a fourth of the times the cell too."""
    if chance.random() < 0.6:
        before = sum(len(answers(client.ledger)) for client in clients)
        wanted = before + chance.randrange(1, 30)
        await clients[0].until(
            lambda: sum(len(answers(client.ledger)) for client in clients) >= wanted, "more answers"
        )
        await asyncio.sleep(chance.random() * 0.05)
    else:
        await asyncio.sleep(chance.random() * 1.5)
    with_cell = chance.random() < 0.25
    if with_cell and chance.random() < 0.5:
        await asyncio.to_thread(cell.kill)
        await asyncio.sleep(chance.random() * 0.2)
    service.kill()
    service.start()
    if with_cell:
        await asyncio.to_thread(cell.kill)
        await asyncio.to_thread(cell.start)


@pytest.mark.timeout(300)
async def test_each_input_is_answered_exactly_once(tmp_path: Path) -> None:
    """24 kills: each accepted message has one answer, in the order asked, in each client's ledger and in history."""
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    asking = Asking(random.Random(SEED + 1))
    with CellProcess(tmp_path / "cell") as cell, Service(cell, tmp_path / "service") as service:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(PlainClient(cell.address, user, token)) for user in ASKERS
            ]
            await begun(clients[0])
            async with asyncio.TaskGroup() as work:
                for client in clients:
                    work.create_task(asking.ask(client))
                for _ in range(KILLS):
                    await kill_at_random(service, cell, chance, clients)
                asking.stop()
            for client in clients:
                await asking.ask_once(client, "the end")
            await check(clients, asking, service)
        assert "Traceback" not in service.output
        count = sum(map(len, asking.asked.values()))
        print(f"{count} answered, {service.starts} starts of the service, {cell.starts} of the cell")


async def begun(client: PlainClient) -> None:
    """Until the service has taken its first start for good: from then on it answers everything."""
    while not answers(client.ledger):
        await client.done(text_message("are you there?", ["echo"]))
        await asyncio.sleep(0.2)
    await client.done(text_message("from here on", ["echo"]))


async def check(clients: Sequence[PlainClient], asking: Asking, service: Service) -> None:
    for client in clients:
        asked = asking.asked[client.user_id]
        await client.until(
            lambda client=client, asked=asked: asked[-1] in answers(client.ledger),  # type: ignore[misc]
            "the last answer",
        )
    assert await asyncio.to_thread(service.stop) == 0
    kept = FileStore(service.store)
    assert kept.load().commands == [], "nothing is left to be sent"
    kept.close()
    for client in clients:
        asked = asking.asked[client.user_id]
        told = answers(client.ledger)
        assert [id_ for id_ in told if id_ in set(asked)] == asked, "each once, in the order asked"
        assert len(told) == len(set(told))
        assert once_violations(client.ledger.events, [(client.user_id, id_) for id_ in asked]) == []
        reference = await events_at_least(client, len(without_marks(client.ledger.events)))
        assert session_violations(reference, client.ledger) == []
        stored = await all_messages(client, with_users("echo"), page_size=500)
        questions = {each.message.ref.message_id: each.message for each in stored}
        echoes = [each.message for each in stored if each.message.ref.sender_id == "echo"]
        assert sorted(echo.reply_to.message_id for echo in echoes) == sorted(told)
        for echo in echoes:
            assert echo.content == questions[echo.reply_to.message_id].content
