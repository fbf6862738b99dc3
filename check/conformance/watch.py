"""What a scenario waits for, and how it says that something else came."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Answer = TypeVar("Answer")
_SHOWN = 24


class Broken(Exception):
    """The SDK did not do what the rule asks. The text is for its author: what was expected, and what came."""


class Watch:
    """One run of a scenario: its patience, its transcript, and the first fault found anywhere."""

    def __init__(self, patience_s: float) -> None:
        self.patience_s = patience_s
        self._lines: list[str] = []
        self._started_s = asyncio.get_running_loop().time()
        self._fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fault.add_done_callback(lambda fault: fault.exception())  # whether or not somebody asks

    def note(self, line: str) -> None:
        """Add to the transcript."""
        at_s = asyncio.get_running_loop().time() - self._started_s
        self._lines.append(f"{at_s:7.3f}  {line if len(line) < 200 else line[:196] + ' ...'}")

    @property
    def transcript(self) -> list[str]:
        """Its last lines."""
        return self._lines[-_SHOWN:]

    def fail(self, message: str) -> None:
        """A rule that always holds was broken: whatever is waited for will not matter any more."""
        if not self._fault.done():
            self._fault.set_exception(Broken(message))

    def check(self) -> None:
        """Raises Broken if a fault was found."""
        if self._fault.done():
            self._fault.result()

    async def wait(self, awaited: Awaitable[Answer], expected: str, *, times: int = 1) -> Answer:
        """What is awaited, for so many times our patience. Raises Broken if it does not come, or a fault is found."""
        patience_s = times * self.patience_s
        task = asyncio.ensure_future(awaited)
        try:
            await self._first(task, patience_s)
            self.check()
            if not task.done():
                raise Broken(f"expected {expected}; within {patience_s:g} s it did not come")
            return task.result()
        finally:
            task.cancel()

    async def quiet(self, awaited: Awaitable[object], unexpected: str, *, for_s: float) -> None:
        """Nothing may come for so long. Raises Broken if it does."""
        task = asyncio.ensure_future(awaited)
        try:
            await self._first(task, for_s)
            self.check()
            if task.done():
                raise Broken(f"{unexpected}: {task.result()}")
        finally:
            task.cancel()

    async def _first(self, task: asyncio.Future[Any], within_s: float) -> None:
        both: set[asyncio.Future[Any]] = {task, self._fault}
        await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)


def expect(is_so: object, expected: str, came: object) -> None:
    """Raises Broken unless it is so."""
    if not is_so:
        raise Broken(f"expected {expected}; came: {came}")
