"""Where partitions end now: look-ups of all streams in one, one under way at a time."""

import asyncio
from collections.abc import Callable, Iterable

from event_log.port import EventLog, LogError

OnEnd = Callable[[int | None], None]
"""Takes one above the partition's last durable record, read after the question; None if the log did not answer."""

_TOGETHER = -1


class LogEnds:
    """Those who ask while a look-up is under way share the next one: theirs must be read after they asked.

    A partition that was not told of is then asked for by itself, until it is: it holds up no other (I14).
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._asked: dict[int, list[OnEnd]] = {}
        self._silent: set[int] = set()
        """Partitions asked for by themselves."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        """Look-ups under way: of a silent partition, or _TOGETHER."""

    def ask(self, partition: int, then: OnEnd) -> None:
        """Find out; `then` is called later, never from within."""
        self._asked.setdefault(partition, []).append(then)
        self._start(partition if partition in self._silent else _TOGETHER)

    async def close(self) -> None:
        """Stop asking."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, which: int) -> None:
        if which not in self._tasks:
            self._tasks[which] = asyncio.get_running_loop().create_task(self._look_up(which))

    async def _look_up(self, which: int) -> None:
        try:
            while asked := self._take(which):
                ends = await self._read(asked)
                self._sort(asked, ends)
                for partition, waiting in asked.items():
                    for then in waiting:
                        then(ends.get(partition))
        finally:
            del self._tasks[which]

    def _take(self, which: int) -> dict[int, list[OnEnd]]:
        """Who is to be told by the next look-up."""
        partitions = self._asked.keys() - self._silent if which == _TOGETHER else self._asked.keys() & {which}
        return {partition: self._asked.pop(partition) for partition in partitions}

    async def _read(self, partitions: Iterable[int]) -> dict[int, int]:
        try:
            return dict(await self._log.end_offsets(partitions))
        except LogError:
            return {}

    def _sort(self, asked: Iterable[int], ends: Iterable[int]) -> None:
        """Which of these are asked for by themselves from now on, and which together."""
        self._silent.update(asked)
        self._silent.difference_update(ends)
        for partition in self._silent & self._asked.keys():
            self._start(partition)
