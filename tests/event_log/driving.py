"""Ways to drive a log in a test: append and wait, poll until something holds."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from event_log.port import Assignment, EventLog, GroupConsumer, LogRecord, NewRecord, Settled

PATIENCE_S = 30.0


async def append(log: EventLog, *records: tuple[int, bytes]) -> list[Settled[int]]:
    """Append (partition, value)s in one call; their fates in the order of the call."""
    return await append_calls(log, [records])


async def append_calls(log: EventLog, calls: Sequence[Sequence[tuple[int, bytes]]]) -> list[Settled[int]]:
    """Append in several calls without waiting in between; their fates in the order of the calls."""
    fates: dict[int, Settled[int]] = {}
    done = asyncio.Event()
    count = sum(map(len, calls))

    def on_settled(settled: Sequence[Settled[int]]) -> None:
        for one in settled:
            assert one.tag not in fates, "settled twice"
            fates[one.tag] = one
        if len(fates) == count:
            done.set()

    tag = 0
    for call in calls:
        records = []
        for partition, value in call:
            records.append(NewRecord(partition, value, tag))
            tag += 1
        log.append(records, on_settled)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()
    return [fates[tag] for tag in range(count)]


class Member:
    """A consumer and all that its polls have told."""

    def __init__(self, log: EventLog, group: str = "group") -> None:
        self.consumer: GroupConsumer = log.consumer(group)
        self.owned: dict[int, Assignment] = {}
        self.history: list[Assignment] = []
        self.records: dict[int, list[LogRecord]] = defaultdict(list)

    def values(self, partition: int) -> list[bytes]:
        return [record.value for record in self.records[partition]]

    @property
    def count(self) -> int:
        return sum(map(len, self.records.values()))

    async def poll(self, timeout_s: float = 0.05) -> None:
        polled = await self.consumer.poll(timeout_s)
        for partition in polled.revoked:
            del self.owned[partition]
        for assignment in polled.assigned:
            assert assignment.partition not in self.owned
            self.owned[assignment.partition] = assignment
            self.history.append(assignment)
        for partition, records in polled.records:
            assert partition in self.owned, "a record of a partition that is not owned"
            self.records[partition] += records


async def poll_until(condition: Callable[[], bool], *members: Member) -> None:
    """Let the members poll in turn until the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            for member in members:
                await member.poll()
