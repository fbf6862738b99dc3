"""Ways to put what a test wrote into a real log, and to wait until history has it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from event_log.port import EventLog, Fate, NewRecord, Settled
from history_service.consumer import HistoryConsumer
from history_service.port import HistoryStore
from history_service.settings import HistorySettings
from messaging_core.limits import Limits
from tests.history_service.written import SHARED_ABOVE, WrittenLog

PATIENCE_S = 30.0
SETTINGS = HistorySettings(
    limits=Limits(max_mark_participants=SHARED_ABOVE),
    store_interval_s=0.001,
    commit_interval_s=0.02,
    retry_min_s=0.01,
    retry_max_s=0.05,
)


class Appender:
    """Appends what was written since it last did."""

    def __init__(self, log: EventLog, made: WrittenLog, start: dict[int, int] | None = None) -> None:
        self._log = log
        self._made = made
        self._appended = start or dict.fromkeys(made.records, 0)

    async def append(self) -> None:
        """Return when it is durable."""
        new = []
        for partition, values in self._made.records.items():
            new += [NewRecord(partition, value, None) for value in values[self._appended[partition] :]]
            self._appended[partition] = len(values)
        done = asyncio.Event()
        left = len(new)

        def on_settled(settled: Sequence[Settled[None]]) -> None:
            nonlocal left
            assert all(one.fate is Fate.APPENDED for one in settled)
            left -= len(settled)
            if not left:
                done.set()

        if new:
            self._log.append(new, on_settled)
            async with asyncio.timeout(PATIENCE_S):
                await done.wait()


@asynccontextmanager
async def consuming(log: EventLog, store: HistoryStore) -> AsyncIterator[HistoryConsumer]:
    """A consumer at work."""
    consumer = HistoryConsumer(log, store, SETTINGS)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.close()


async def stored(log: EventLog, store: HistoryStore) -> None:
    """Wait until the store holds what the log has now."""
    ends = await log.end_offsets(range(log.partition_count))
    async with asyncio.timeout(PATIENCE_S):
        for partition, end in ends.items():
            while (await store.persisted(log.incarnation, partition)).offset < end - 1:
                await asyncio.sleep(0.005)


async def committed(log: EventLog) -> None:
    """Wait until the group has committed all that the log has now."""
    ends = {p: end for p, end in (await log.end_offsets(range(log.partition_count))).items() if end}
    async with asyncio.timeout(PATIENCE_S):
        while {p: c.offset for p, c in (await log.committed("history", ends)).items()} != ends:
            await asyncio.sleep(0.005)
