"""Ways to put what a test wrote into a real log."""

import asyncio
from collections.abc import Sequence

from event_log.port import EventLog, Fate, NewRecord, Settled
from tests.history_service.written import WrittenLog

PATIENCE_S = 30.0


async def append(log: EventLog, made: WrittenLog, start: dict[int, int] | None = None) -> None:
    """Append the records, of each partition those from its start on, and wait until they are durable."""
    records = [
        NewRecord(partition, value, None)
        for partition, values in made.records.items()
        for value in values[(start or {}).get(partition, 0) :]
    ]
    left = len(records)
    done = asyncio.Event()

    def on_settled(settled: Sequence[Settled[None]]) -> None:
        nonlocal left
        assert all(one.fate is Fate.APPENDED for one in settled)
        left -= len(settled)
        if not left:
            done.set()

    if records:
        log.append(records, on_settled)
        async with asyncio.timeout(PATIENCE_S):
            await done.wait()
