"""Where partitions end now: look-ups of all streams in one, one under way at a time."""

import asyncio
from collections.abc import Callable

from event_log.port import EventLog, LogUnavailable

OnEnd = Callable[[int | None], None]
"""Takes one above the partition's last durable record, read after the question; None if the log did not answer."""


class LogEnds:
    """Those who ask while a look-up is under way share the next one: theirs must be read after they asked."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._asked: dict[int, list[OnEnd]] = {}
        self._task: asyncio.Task[None] | None = None

    def ask(self, partition: int, then: OnEnd) -> None:
        """Find out; `then` is called later, never from within."""
        self._asked.setdefault(partition, []).append(then)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._look_up())

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look_up(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                ends = await self._read(list(asked))
                for partition, waiting in asked.items():
                    for then in waiting:
                        then(ends.get(partition))
        finally:
            self._task = None

    async def _read(self, partitions: list[int]) -> dict[int, int]:
        try:
            return dict(await self._log.end_offsets(partitions))
        except LogUnavailable:
            return {}
