"""`python -m check.faults.clients FOLDER SOFTWARE`: all clients of one kind in this process, led by lines of standard input.

`start` opens them and answers `live`; then they do what they do. `stop` ends that and answers `stopped`. `fence` sends the
last messages, waits until all are told of all, and answers `fenced`, or `unfenced` with who is not. End of input ends them.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from check.faults import plan as plans
from check.faults.clients.client import ClientUnderTest
from check.faults.clients.person import Person
from check.faults.clients.plain import COMMAND_S, PlainClientUnderTest
from check.faults.clients.sdk import SdkClientUnderTest
from check.faults.ledger import LedgerFile
from check.faults.plan import ClientPlan, Plan

FENCE_S = 120.0
"""How long the last messages may take."""
PLAN_FILE = "plan.json"


def ledger_path(folder: Path, client: ClientPlan) -> Path:
    """Where a client keeps its ledger."""
    return folder / f"{client.name}.jsonl"


def make(folder: Path, plan: Plan, client: ClientPlan) -> ClientUnderTest:
    """The client that a plan names."""
    ledger = LedgerFile(ledger_path(folder, client))
    if client.software == plans.SDK:
        return SdkClientUnderTest(plan, client, ledger, folder)
    return PlainClientUnderTest(plan, client, ledger)


class Group:
    """The clients of this process."""

    def __init__(self, folder: Path, software: str) -> None:
        self._plan = plans.load(folder / PLAN_FILE)
        self._people = [
            Person(self._plan, client, make(folder, self._plan, client))
            for client in self._plan.clients
            if client.software == software
        ]
        self._lives: list[asyncio.Task[None]] = []

    async def do(self, order: str) -> str:
        """Follow a line, and what to answer."""
        match order:
            case "start":
                await asyncio.gather(*(person.live_first() for person in self._people))
                self._lives = [asyncio.create_task(person.live_on()) for person in self._people]
                return "live"
            case "stop":
                for person in self._people:
                    person.stop()
                await asyncio.wait_for(asyncio.gather(*self._lives), 2 * COMMAND_S)
                return "stopped"
            case "fence":
                return await self._fence(self._people)
        raise ValueError(order)

    async def _fence(self, people: Sequence[Person]) -> str:
        await asyncio.gather(*(person.send_fence() for person in people))
        fenced = await asyncio.gather(
            *(person.wait_for_fences(len(self._plan.clients), FENCE_S) for person in people)
        )
        late = [person.client.name for person, told in zip(people, fenced, strict=True) if not told]
        return f"unfenced {' '.join(late)}" if late else "fenced"

    async def leave(self) -> None:
        """Close all."""
        await asyncio.gather(*(person.leave() for person in self._people))

    def check(self) -> None:
        """Raises what made one of them end before its time."""
        for life in self._lives:
            if life.done():
                life.result()


async def main(folder: Path, software: str) -> None:
    """Until the end of standard input."""
    group = Group(folder, software)
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, sys.stdin.readline)
    while True:
        await asyncio.wait((reading,), timeout=1)
        if not reading.done():
            group.check()
            continue
        if not (order := reading.result().strip()):
            return await group.leave()
        print(await group.do(order), flush=True)
        reading = loop.run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
