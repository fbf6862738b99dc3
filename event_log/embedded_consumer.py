"""A member of a consumer group on the embedded log."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from event_log.embedded_group import Group
from event_log.port import (
    Assignment,
    Commit,
    CommitFenced,
    GroupConsumer,
    LogRecord,
    LogUnavailable,
    Polled,
    check_commits,
    check_seek,
)
from event_log.waiter import Waiter

if TYPE_CHECKING:
    from event_log.embedded import EmbeddedLog


class EmbeddedConsumer(GroupConsumer):
    """Reads from memory where it keeps up, else from the file. See GroupConsumer."""

    def __init__(
        self,
        log: "EmbeddedLog",
        name: str,
        group: "Group[EmbeddedConsumer]",
        write_commits: Callable[[str, Mapping[int, Commit]], Awaitable[None]],
        max_poll_bytes: int,
    ) -> None:
        self._log = log
        self._name = name
        self._group = group
        self._write_commits = write_commits
        self._max_poll_bytes = max_poll_bytes
        self._positions: dict[int, int] = {}
        """Next offset of each partition it may read."""
        self._paused: set[int] = set()
        self._ready: dict[int, None] = {}
        """Partitions with records to read, in the order of their turns."""
        self._waiter = Waiter()
        self._closed = False
        group.join(self)
        self._wake_group()

    async def poll(self, timeout_s: float) -> Polled:
        """See GroupConsumer.poll."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if self._ready or timeout_s <= 0:
            await asyncio.sleep(0)  # or a consumer that is behind would never let the loop go
        self._check_open()
        if self._group.let_go(self):
            self._wake_group()
        while True:
            if self._group.has_changes(self):
                return self._tell_changes()
            if records := await self._read():
                return Polled((), (), records)
            remaining_s = deadline - loop.time()
            if remaining_s <= 0:
                return Polled((), (), ())
            await self._waiter.wait(remaining_s)
            self._check_open()

    def seek(self, partition: int, offset: int) -> None:
        """See GroupConsumer.seek."""
        check_seek(partition, offset, self._positions)
        self._positions[partition] = offset
        self._ready[partition] = None

    def pause(self, partitions: Iterable[int]) -> None:
        """See GroupConsumer.pause."""
        self._paused.update(self._positions.keys() & set(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """See GroupConsumer.resume."""
        for partition in self._paused & set(partitions):
            self._paused.discard(partition)
            self._ready[partition] = None

    def lag(self) -> Mapping[int, int]:
        """See GroupConsumer.lag."""
        ends = self._log.ends
        return {partition: ends[partition] - offset for partition, offset in self._positions.items()}

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """See GroupConsumer.commit."""
        self._check_open()
        for partition in commits:
            if not self._group.owns(self, partition):
                raise CommitFenced(f"partition {partition} is not this member's in group {self._name}")
        check_commits(commits)
        if commits:
            await self._write_commits(self._name, commits)

    async def close(self) -> None:
        """See GroupConsumer.close."""
        if not self._closed:
            self._closed = True
            self._group.leave(self)
            self._log.forget(self)
            self.wake()
            self._wake_group()

    def wake(self) -> None:
        """Look again."""
        self._waiter.wake()

    def arrived(self, partitions: Iterable[int]) -> None:
        """There are new records."""
        found = False
        for partition in partitions:
            if partition in self._positions:
                self._ready[partition] = None
                found = True
        if found:
            self.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("this consumer is closed")

    def _wake_group(self) -> None:
        for member in self._group.members:
            member.wake()

    def _tell_changes(self) -> Polled:
        changes = self._group.tell(self)
        for partition in changes.revoked:
            del self._positions[partition]
            self._ready.pop(partition, None)
            self._paused.discard(partition)
        assigned = tuple(
            self._log.assignment(self._name, partition, changes.generation) for partition in changes.assigned
        )
        for assignment in assigned:
            self._positions[assignment.partition] = _first_offset(assignment)
            self._ready[assignment.partition] = None
        return Polled(changes.revoked, assigned, ())

    async def _read(self) -> tuple[tuple[int, Sequence[LogRecord]], ...]:
        """Next records of the partitions in turn, from memory, and of the first that is behind it from the file.

        Positions move only after the last await, so a poll that is cancelled loses no records.
        """
        found: list[tuple[int, Sequence[LogRecord]]] = []
        bytes_left = self._max_poll_bytes
        behind = next((p for p in self._ready if self._is_due(p) and not self._in_memory(p)), None)
        if behind is not None:
            records = await self._log.read(behind, self._positions[behind], bytes_left)
            bytes_left -= self._take(found, behind, records)
        for partition in tuple(self._ready):
            if bytes_left <= 0:
                break
            if not self._is_due(partition):
                del self._ready[partition]
            elif partition != behind and self._in_memory(partition):
                records = self._log.tail.read(partition, self._positions[partition], bytes_left)
                bytes_left -= self._take(found, partition, records)
        return tuple(found)

    def _is_due(self, partition: int) -> bool:
        return partition not in self._paused and self._positions[partition] < self._log.ends[partition]

    def _in_memory(self, partition: int) -> bool:
        return self._log.in_memory(partition, self._positions[partition])

    def _take(
        self, found: list[tuple[int, Sequence[LogRecord]]], partition: int, records: Sequence[LogRecord]
    ) -> int:
        """Go on behind these records; the partition is last in turn now. Returns their bytes."""
        found.append((partition, records))
        self._positions[partition] = records[-1].offset + 1
        del self._ready[partition]
        if self._is_due(partition):
            self._ready[partition] = None
        return sum([len(record.value) for record in records])


def _first_offset(assignment: Assignment) -> int:
    return assignment.committed.offset if assignment.committed else assignment.start_offset
