"""One run: a cell, its clients in processes of their own, faults, and then all of history."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from check.cells import token
from check.faults import history_reader, memory, plan
from check.faults.ledger import LedgerFile
from check.faults.nemesis import Nemesis
from check.faults.parts import Parts
from check.faults.plan import FENCE, NAMES, Plan
from check.faults.run import FAULTS_FILE, PLAN_FILE
from check.faults.schedule import Fault

_START_S = 120.0
_STOP_S = 240.0
_LAST_S = 180.0
_LOOK_EVERY_S = 0.2
SOFTWARE = (plan.SDK, plan.PLAIN)


class ClientsFailed(Exception):
    """A process of clients ended, or gave no answer in time."""


class ClientProcess:
    """All clients made of one software. `async with` ends it."""

    def __init__(self, folder: Path, software: str) -> None:
        self._folder = folder
        self._software = software
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "check.faults.clients",
                str(self._folder),
                self._software,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_START_S if error is None else 5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def do(self, order: str, timeout_s: float) -> str:
        """Its answer to a line. Raises ClientsFailed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order}\n".encode())
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._process.stdout.readline()
        except TimeoutError:
            answer = b""
        if not answer:
            raise ClientsFailed(
                f"no answer of the {self._software} clients to {order}:\n{self._log.read_text()[-3_000:]}"
            )
        return answer.decode().strip()

    def check(self) -> None:
        """Raises ClientsFailed where it has ended."""
        if self._process.returncode is not None:
            raise ClientsFailed(f"the {self._software} clients have ended:\n{self._log.read_text()[-3_000:]}")

    @property
    def _log(self) -> Path:
        return self._folder / f"clients-{self._software}.log"


def make_plan(
    seed: int, parts: Parts, users: int, pause_s: float, restless: float, patience_s: float
) -> Plan:
    """Who takes part, with tokens for a day."""
    tokens = {user: token(user) for user in NAMES[:users]}
    return plan.make(seed, parts.addresses, tokens, users, pause_s, restless, patience_s)


async def run(
    folder: Path,
    plan: Plan,
    parts: Parts,
    faults: Sequence[Fault],
    minutes: float,
    say: Callable[[str], None],
) -> None:
    """Leaves all ledgers in the folder. Raises ClientsFailed, CellDown, HistoryNotWhole."""
    plan.save(folder / PLAN_FILE)
    ledger = LedgerFile(folder / FAULTS_FILE)
    nemesis = Nemesis(parts, ledger, plan.seed)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nemesis.stop)
        await nemesis.start()
        clients = [await stack.enter_async_context(ClientProcess(folder, software)) for software in SOFTWARE]
        await _all(clients, "start", _START_S)
        say("all clients are live")
        watching = asyncio.create_task(memory.watch(parts, ledger))
        stack.callback(watching.cancel)
        async with history_reader.Followers(folder, plan):
            await _break(nemesis.run(faults, say), clients, minutes)
        watching.cancel()  # what reads everything at the end is no part of the run
        await _all(clients, "stop", _STOP_S)
        say("all is well again; the last messages")
        for answer in await _all(clients, "fence", _LAST_S):
            if answer != "fenced":
                say(answer)
        last = [f"{client.name}-{FENCE}" for client in plan.clients]
        await history_reader.read_all(folder, plan, last)


async def _break(
    faults: Coroutine[None, None, None], clients: Sequence[ClientProcess], minutes: float
) -> None:
    """Until all faults are over, and the time is. Raises ClientsFailed as soon as clients have ended."""
    end_s = time.monotonic() + minutes * 60
    breaking = asyncio.create_task(faults)
    try:
        while not breaking.done() or time.monotonic() < end_s:
            for client in clients:
                client.check()
            await asyncio.sleep(_LOOK_EVERY_S)
            if breaking.done():
                breaking.result()
    finally:
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)


async def _all(clients: Sequence[ClientProcess], order: str, timeout_s: float) -> list[str]:
    return await asyncio.gather(*(client.do(order, timeout_s) for client in clients))
