"""The log on one SQLite file, in one process: nothing to install, durable, quick enough for one machine.

Appends queue up while a transaction is under way, and all that has queued makes the next one (`embedded_writer`); when its
COMMIT has returned from its fsync, the loop is told once, settles the fates, keeps the new records in memory for those who
read the end (`embedded_tail`), and wakes them. Who is further behind reads the file in another thread. The file's format is
in `embedded_file`, ownership of partitions in `embedded_group`.

Bounds: appends under way `max_pending_bytes`, then LogFull; one transaction `max_cycle_bytes`, which is also how much the
loop is told at once; records in memory `tail_bytes`; one poll `max_poll_bytes`.
"""

import asyncio
import logging
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack

from event_log import embedded_file as file
from event_log.embedded_consumer import EmbeddedConsumer
from event_log.embedded_group import Group
from event_log.embedded_retention import Retention
from event_log.embedded_settings import EmbeddedLogSettings
from event_log.embedded_tail import Tail
from event_log.embedded_writer import Append, Cycle, Task, Writer
from event_log.figures import AppendFigures
from event_log.partitioner import partition_for
from event_log.port import (
    MAX_PARTITIONS,
    Assignment,
    Commit,
    DeadLetter,
    EventLog,
    GroupConsumer,
    LogError,
    LogFull,
    LogRecord,
    LogUnavailable,
    NewRecord,
    Settled,
    Tag,
    Truncated,
    checked_bytes,
)
from messaging_core.sqlite import (
    Lock,
    Reserve,
    connect,
    end_if_fsync_failed,
    lacks_room_to_open,
    lock_folder,
    sync_folder,
    why_not_opened,
)
from telemetry.metrics import Figure

_logger = logging.getLogger(__name__)

__all__ = ["EmbeddedLog", "EmbeddedLogSettings"]

Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")

FILE_NAME = "log.db"
RESERVE_NAME = "log.reserve"
_NOT_OPENED = (sqlite3.Error, ValueError, LookupError, struct.error)
"""What a file that is no log or is damaged makes of its being read: SQLite quotes it, and rows are not as written."""
_LETTERS_AT_ONCE = 16
_OVERHEAD_BYTES = 200
"""Of a record under way, beside its value."""


class EmbeddedLog(EventLog):
    """See EventLog. Made by `open`."""

    def __init__(self, folder: Path, lock: Lock, state: file.LogState, settings: EmbeddedLogSettings) -> None:
        path = folder / FILE_NAME
        self._lock = lock
        self._state = state
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.ends = list(state.next_offsets)
        """One above the last durable record of each partition."""
        self.tail = Tail(len(self.ends), settings.tail_bytes)
        self._groups: dict[str, Group[EmbeddedConsumer]] = {}
        self._consumers: list[EmbeddedConsumer] = []
        self._pending_bytes = 0
        self._appends = AppendFigures()
        self._closed = False
        self._reader = connect(path, read_only=True)
        self._reader_thread = ThreadPoolExecutor(1, "log-reader")
        reserve = Reserve(folder / RESERVE_NAME, settings.reserve_bytes)
        self._full = not reserve.restore()
        self._writer = Writer(path, self.ends, reserve, self._full, settings.max_cycle_bytes, self._on_cycle)
        self._retention = Retention(state, self.ends, self._writer.put, settings)

    @classmethod
    async def open(
        cls,
        folder: Path,
        partition_count: int = 16,
        settings: EmbeddedLogSettings | None = None,
    ) -> "EmbeddedLog":
        """Open the log in a folder, or make it there.

        Raises ValueError for a number of partitions out of bounds, FolderInUse where another process has it, OtherLog where
        it was made with another number, LogError where its file is no log or cannot be used, NotDurable where the disk
        cannot do what is needed, OSError.
        """
        if not 1 <= partition_count <= MAX_PARTITIONS:
            raise ValueError(f"partition_count is 1 to {MAX_PARTITIONS}, not {partition_count}")
        lock = await asyncio.to_thread(lock_folder, folder)
        try:
            state = await asyncio.to_thread(_open_file, folder, partition_count)
            return cls(folder, lock, state, settings or EmbeddedLogSettings())
        except _NOT_OPENED as error:
            lock.release()
            path = folder / FILE_NAME
            raise LogError(f"{path} cannot be used as a log: {why_not_opened(error, path)}") from error
        except BaseException:
            lock.release()
            raise

    @property
    def incarnation(self) -> str:
        """See EventLog.incarnation."""
        return self._state.incarnation

    @property
    def partition_count(self) -> int:
        """See EventLog.partition_count."""
        return len(self.ends)

    def partition_of(self, user_id: str) -> int:
        """See EventLog.partition_of."""
        return partition_for(user_id, len(self.ends))

    def append(
        self, records: Sequence[NewRecord[Tag]], on_settled: Callable[[Sequence[Settled[Tag]]], None]
    ) -> None:
        """See EventLog.append."""
        self._check_open()
        size_bytes = checked_bytes(records, len(self.ends), _OVERHEAD_BYTES)
        if self._full:
            raise LogFull("the disk is full")
        if self._pending_bytes and self._pending_bytes + size_bytes > self._settings.max_pending_bytes:
            raise LogFull(f"{self._pending_bytes} bytes of appends are under way")
        if records:
            self._pending_bytes += size_bytes
            self._writer.put(Append(records, on_settled, size_bytes))

    def figures(self) -> Iterable[Figure]:
        """See EventLog.figures."""
        return self._appends.figures(self._pending_bytes)

    def consumer(self, group: str) -> GroupConsumer:
        """See EventLog.consumer."""
        self._check_open()
        if not group:
            raise ValueError("a group needs a name")
        if group not in self._state.committed:
            self._state.committed[group] = {}
            self._writer.put(Task(lambda connection: file.insert_group(connection, group), _ignore))
        if group not in self._groups:
            self._groups[group] = Group(self.partition_count, self._state.epoch << 32)
        consumer = EmbeddedConsumer(
            self, group, self._groups[group], self._write_commits, self._settings.max_poll_bytes
        )
        self._consumers.append(consumer)
        return consumer

    async def read(self, partition: int, offset: int, max_bytes: int) -> Sequence[LogRecord]:
        """See EventLog.read."""
        self._check_open()
        if not (0 <= partition < len(self.ends) and offset >= 0):
            raise ValueError(f"there is no record {offset} in partition {partition}")
        end = self.ends[partition]
        if offset < self._state.start_offsets[partition]:
            raise Truncated(f"partition {partition}: record {offset} is gone")
        if offset >= end:
            return ()
        if self.in_memory(partition, offset):
            return self.tail.read(partition, offset, max_bytes)
        return await self._from_file(
            f"partition {partition} cannot be read", file.read, partition, offset, end, max_bytes
        )

    async def end_offsets(self, partitions: Iterable[int]) -> Mapping[int, int]:
        """See EventLog.end_offsets."""
        self._check_open()
        return {partition: self.ends[partition] for partition in partitions}

    async def committed(self, group: str, partitions: Iterable[int]) -> Mapping[int, Commit]:
        """See EventLog.committed."""
        self._check_open()
        commits = self._state.committed.get(group, {})
        return {partition: commits[partition] for partition in partitions if partition in commits}

    async def dead_letter(self, letters: Sequence[DeadLetter]) -> None:
        """See EventLog.dead_letter."""
        self._check_open()
        if not letters:
            return
        most = self._settings.max_dead_letter_bytes
        left = await self._write(lambda connection: file.write_dead_letters(connection, letters, most))
        if left:
            _logger.error(
                "dead letters are full: %s of %d are not kept; see `cell replay`", left, len(letters)
            )

    async def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """See EventLog.dead_letters. In the order of their places."""
        place = (-1, -1)
        while found := await self._from_file(
            "dead letters cannot be read", file.read_dead_letters, place, _LETTERS_AT_ONCE
        ):
            for letter in found:
                yield letter
            place = found[-1].place

    async def forget_dead_letters(self, places: Collection[tuple[int, int]]) -> None:
        """See EventLog.forget_dead_letters."""
        self._check_open()
        if places:
            await self._write(lambda connection: file.delete_dead_letters(connection, places))

    async def close(self) -> None:
        """See EventLog.close."""
        if self._closed:
            return
        for consumer in tuple(self._consumers):
            await consumer.close()
        self._closed = True
        self._retention.close()
        await asyncio.to_thread(self._close)  # the writer's last word reaches the loop before this returns

    def assignment(self, group: str, partition: int, generation: int) -> Assignment:
        """A partition as a new owner gets it."""
        return Assignment(
            partition,
            generation,
            self._state.committed[group].get(partition),
            self._state.start_offsets[partition],
            self.ends[partition],
        )

    def in_memory(self, partition: int, offset: int) -> bool:
        """Whether `tail` has the record, and the log still does too."""
        return offset >= self._state.start_offsets[partition] and self.tail.has(partition, offset)

    def forget(self, consumer: EmbeddedConsumer) -> None:
        """The consumer is closed."""
        self._consumers.remove(consumer)

    def _check_open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log is closed")

    def _close(self) -> None:
        self._writer.close()
        self._reader_thread.shutdown()
        self._reader.close()
        self._lock.release()

    def _on_cycle(self, cycle: Cycle) -> None:
        """One transaction is over: all that the loop does for its records."""
        self._full = cycle.full
        self._pending_bytes -= cycle.size_bytes
        for partition, records in cycle.appended:
            self.ends[partition] = records[-1].offset + 1
            self.tail.add(partition, records)
        for task, result in zip(cycle.tasks, cycle.results, strict=True):
            task.done(result)
        if cycle.appends:
            self._count(cycle)
        if cycle.appended:
            partitions = [partition for partition, _ in cycle.appended]
            for consumer in self._consumers:
                consumer.arrived(partitions)
        for on_settled, settled in cycle.settled.items():
            try:
                on_settled(settled)
            except Exception:
                _logger.exception("a callback for settled appends raised")

    def _count(self, cycle: Cycle) -> None:
        records = sum([len(append.records) for append in cycle.appends])
        if cycle.appended:
            self._appends.appended(records, cycle.size_bytes, cycle.took_s)
        else:
            fates = [one.fate for settled in cycle.settled.values() for one in settled[:1]]
            self._appends.failed(records, fates[0])

    async def _from_file(
        self,
        trouble: str,
        read: Callable[[sqlite3.Connection, Unpack[Arguments]], Found],
        *arguments: *Arguments,
    ) -> Found:
        """What is read in the reader's thread. Raises LogUnavailable."""
        self._check_open()
        try:
            return await self._loop.run_in_executor(self._reader_thread, read, self._reader, *arguments)
        except sqlite3.Error as error:
            end_if_fsync_failed(error)
            raise LogUnavailable(f"{trouble}: {error}") from error

    async def _write(self, run: Callable[[sqlite3.Connection], Found]) -> Found:
        """Have the writer do this, and wait until it is durable. Raises LogUnavailable."""
        written: asyncio.Future[Found] = self._loop.create_future()
        self._writer.put(Task(run, lambda result: _resolve(written, result)))
        return await written

    async def _write_commits(self, group: str, commits: Mapping[int, Commit]) -> None:
        """Make them durable; from then on they are what the group committed, whether or not the caller still waits."""
        written: asyncio.Future[None] = self._loop.create_future()
        commits = dict(commits)

        def done(result: object) -> None:
            if not isinstance(result, LogUnavailable):
                self._state.committed[group].update(commits)
            _resolve(written, result)

        self._writer.put(Task(lambda connection: file.write_commits(connection, group, commits), done))
        await written


def _open_file(folder: Path, partition_count: int) -> file.LogState:
    """Open the log's file, on a full disk too: what the reserve takes up is for that."""
    path = folder / FILE_NAME
    try:
        state = file.open_file(path, partition_count)
    except sqlite3.Error as error:
        if not lacks_room_to_open(error):
            raise
        Reserve(folder / RESERVE_NAME, 0).give_up()
        state = file.open_file(path, partition_count)
    sync_folder(folder)
    sync_folder(folder.parent)
    return state


def _resolve(written: asyncio.Future[Any], result: object) -> None:
    if written.cancelled():
        return
    if isinstance(result, LogUnavailable):
        written.set_exception(result)
    else:
        written.set_result(result)


def _ignore(_: object) -> None:
    """Nobody waits."""
