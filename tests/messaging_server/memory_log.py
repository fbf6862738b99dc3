"""A log in memory that keeps what the port promises: order, offsets, later settlement, each record settled once."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from event_log.port import (
    Commit,
    DeadLetter,
    EventLog,
    Fate,
    GroupConsumer,
    LogFull,
    LogRecord,
    LogUnavailable,
    NewRecord,
    Settled,
)


class MemoryLog(EventLog):
    """`fate` decides what becomes of each append; `held` keeps appends back until `let_go`."""

    def __init__(self, partition_count: int = 4, incarnation: str = "log-1") -> None:
        self._incarnation = incarnation
        self._count = partition_count
        self.records: list[list[LogRecord]] = [[] for _ in range(partition_count)]
        self.fate: Callable[[NewRecord[Any]], Fate] = lambda record: Fate.APPENDED
        self.held = False
        self.full = False
        self.away = False
        self.silent: set[int] = set()
        """Partitions whose end is not told, nor found out soon by whoever asks for them alone."""
        self.batches: list[int] = []
        self.end_reads = 0
        self.on_append: Callable[[int], None] = lambda partition: None
        self._waiting: list[tuple[Sequence[NewRecord[Any]], Callable[[Sequence[Settled[Any]]], None]]] = []

    @property
    def incarnation(self) -> str:
        return self._incarnation

    @property
    def partition_count(self) -> int:
        return self._count

    def partition_of(self, user_id: str) -> int:
        return zlib.crc32(user_id.encode()) % self._count

    def append(
        self, records: Sequence[NewRecord[Any]], on_settled: Callable[[Sequence[Settled[Any]]], None]
    ) -> None:
        if self.full:
            raise LogFull("full")
        self.batches.append(len(records))
        self._waiting.append((list(records), on_settled))
        if not self.held:
            asyncio.get_running_loop().call_soon(self.let_go)

    def let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for records, on_settled in waiting:
            on_settled([self._land(record) for record in records])

    def _land(self, record: NewRecord[Any]) -> Settled[Any]:
        fate = self.fate(record)
        if fate is Fate.NOT_APPENDED:
            return Settled(record.tag, fate, -1)
        offset = self.put(record.partition, record.value)
        return Settled(record.tag, fate, offset if fate is Fate.APPENDED else -1)

    def put(self, partition: int, value: bytes) -> int:
        records = self.records[partition]
        records.append(LogRecord(len(records), time.time_ns() // 1_000, value))
        self.on_append(partition)
        return len(records) - 1

    def consumer(self, group: str) -> GroupConsumer:
        raise NotImplementedError

    async def read(self, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        return self.records[partition][offset:]

    async def end_offsets(self, partitions: Iterable[int]) -> Mapping[int, int]:
        self.end_reads += 1
        await asyncio.sleep(0)
        if self.away:
            raise LogUnavailable("away")
        wanted = list(partitions)
        told = {
            partition: len(self.records[partition]) for partition in wanted if partition not in self.silent
        }
        while wanted and not told:
            await asyncio.sleep(0.01)
            if not self.silent.issuperset(wanted):
                raise LogUnavailable("some are away")
        return told

    async def committed(self, group: str, partitions: Iterable[int]) -> Mapping[int, Commit]:
        return {}

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        raise NotImplementedError

    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        raise NotImplementedError

    async def forget_dead_letters(self, places: Collection[tuple[int, int]]) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass
