"""The embedded log's writer: a thread that makes one fsynced transaction of everything that is waiting."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from event_log import embedded_file as file
from event_log.port import Fate, LogRecord, LogUnavailable, NewRecord, Settled
from messaging_core.clock import steady_us
from messaging_core.sqlite import (
    Checkpointer,
    Reserve,
    connect,
    end_if_fsync_failed,
    is_disk_full,
    is_write_failed,
)

_logger = logging.getLogger(__name__)

FULL_RETRY_S = 1.0
"""How often a full disk is looked at again."""
_VACUUM_PAGES = 4_096

OnSettled = Callable[[Sequence[Settled[Any]]], None]


class Append(NamedTuple):
    """Records to append."""

    records: Sequence[NewRecord[Any]]
    on_settled: OnSettled
    size_bytes: int


class Task(NamedTuple):
    """Something else to write. It is tried even where appends are refused because the disk is full."""

    run: Callable[[sqlite3.Connection], object]
    """Within a transaction, in the writer's thread; may run twice."""
    done: Callable[[object], None]
    """On the loop: with what `run` returned, durable now, or with the LogUnavailable that says why it is not."""


@dataclass(slots=True)
class Cycle:
    """What became of one transaction's worth of work, for the loop."""

    appends: list[Append] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    size_bytes: int = 0
    appended: list[tuple[int, list[LogRecord]]] = field(default_factory=list)
    """New durable records by partition."""
    settled: dict[OnSettled, list[Settled[Any]]] = field(default_factory=dict)
    results: list[object] = field(default_factory=list)
    """Of the tasks, in their order."""
    committing: bool = False
    """Whether COMMIT was begun."""
    full: bool = False
    """Whether the disk is full."""
    took_s: float = 0.0
    """The transaction, until its records were durable."""


class Writer:
    """Takes work from the loop and tells it, once a transaction, what became of it. Owns the connection that writes."""

    def __init__(
        self,
        path: Path,
        next_offsets: Sequence[int],
        reserve: Reserve,
        full: bool,
        max_cycle_bytes: int,
        on_cycle: Callable[[Cycle], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_cycle = on_cycle
        self._next_offsets = list(next_offsets)
        self._reserve = reserve
        self._max_cycle_bytes = max_cycle_bytes
        self._queue: SimpleQueue[Append | Task | None] = SimpleQueue()
        self._closing = False
        self._connection = connect(path)
        self._checkpointer = Checkpointer(path)
        self._full = full
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, work: Append | Task) -> None:
        """Have it written. Never blocks; in the order of the calls."""
        self._queue.put(work)

    def close(self) -> None:
        """Do what is waiting, then stop. Blocks until then."""
        self._queue.put(None)
        self._thread.join()
        self._checkpointer.close()
        self._connection.close()

    # Everything below runs in the writer's thread.

    def _run(self) -> None:
        while not self._closing:
            cycle = self._take()
            try:
                self._write(cycle)
            except Exception:
                # Not a failure of the disk, which is handled below, but of this program: nothing can be said for certain.
                _logger.exception("the log's writer failed")
                self._roll_back()
                self._settle(cycle, Fate.UNKNOWN)
                self._fail_tasks(cycle, "the writer failed")
            cycle.full = self._full
            self._loop.call_soon_threadsafe(self._on_cycle, cycle)

    def _take(self) -> Cycle:
        """Wait for work and take it, up to the bound. While the disk is full, come back now and then without."""
        cycle = Cycle()
        try:
            work = self._queue.get(timeout=FULL_RETRY_S if self._full else None)
            while work is not None:
                if isinstance(work, Append):
                    cycle.appends.append(work)
                    cycle.size_bytes += work.size_bytes
                else:
                    cycle.tasks.append(work)
                if cycle.size_bytes >= self._max_cycle_bytes:
                    return cycle
                work = self._queue.get_nowait()
            self._closing = True
        except Empty:
            pass
        return cycle

    def _write(self, cycle: Cycle) -> None:
        if self._full:
            self._make_room()
        if self._full:
            self._settle(cycle, Fate.NOT_APPENDED)
            self._write_tasks(cycle)
            return
        if not (cycle.appends or cycle.tasks):
            return
        batches = self._batches(cycle)
        now_us = steady_us()
        began_s = time.monotonic()
        try:
            self._transact(cycle, batches, now_us)
        except sqlite3.Error as error:
            self._settle(cycle, self._fate_after(error, cycle.committing))
            self._write_tasks(cycle)
            return
        cycle.took_s = time.monotonic() - began_s
        for partition, base, values in batches:
            self._next_offsets[partition] = base + len(values)
            records = [LogRecord(offset, now_us, value) for offset, value in enumerate(values, base)]
            cycle.appended.append((partition, records))

    def _batches(self, cycle: Cycle) -> list[tuple[int, int, list[bytes]]]:
        """(partition, first offset, values), and with them the fates, should all go well."""
        batches: dict[int, tuple[int, int, list[bytes]]] = {}
        for append in cycle.appends:
            settled = cycle.settled.setdefault(append.on_settled, [])
            for partition, value, tag in append.records:
                batch = batches.get(partition)
                if batch is None:
                    batch = batches[partition] = (partition, self._next_offsets[partition], [])
                settled.append(Settled(tag, Fate.APPENDED, batch[1] + len(batch[2])))
                batch[2].append(value)
        return list(batches.values())

    def _transact(self, cycle: Cycle, batches: list[tuple[int, int, list[bytes]]], now_us: int) -> None:
        """Each statement hands the interpreter to other threads and waits for it: so records alone are one statement."""
        connection = self._connection
        if cycle.tasks:
            connection.execute("BEGIN IMMEDIATE")
            if batches:
                file.insert_batches(connection, now_us, batches)
            cycle.results = [task.run(connection) for task in cycle.tasks]
            cycle.committing = True
            connection.execute("COMMIT")
        else:
            cycle.committing = True
            file.insert_batches(connection, now_us, batches)
        self._checkpointer.wrote()

    def _fate_after(self, error: sqlite3.Error, committing: bool) -> Fate:
        """Roll back, and find out whether that is certain.

        It is before COMMIT. A COMMIT that fails may have written all of its pages, so a crash could bring the transaction
        back; but not once another one is durable, which begins where it began in the write-ahead log.
        """
        end_if_fsync_failed(error)
        _logger.error("the log cannot be written: %s", error)
        if is_disk_full(error) or (is_write_failed(error) and self._reserve.is_all_there_is()):
            self._full = True
            self._reserve.give_up()
        self._roll_back()
        if not committing and not self._connection.in_transaction:
            return Fate.NOT_APPENDED
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'failures'")
            self._connection.execute("COMMIT")
        except sqlite3.Error as again:
            end_if_fsync_failed(again)
            self._roll_back()
            return Fate.UNKNOWN
        return Fate.NOT_APPENDED

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                end_if_fsync_failed(error)

    def _write_tasks(self, cycle: Cycle) -> None:
        """The tasks alone: commits must go on where appends cannot, or retention could never make room."""
        if not cycle.tasks:
            return
        try:
            self._transact(cycle, [], 0)
        except sqlite3.Error as error:
            end_if_fsync_failed(error)
            self._roll_back()
            self._fail_tasks(cycle, str(error))

    def _make_room(self) -> None:
        """Give free pages back to the disk, and see whether the reserve fits again."""
        try:
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            end_if_fsync_failed(error)
            self._roll_back()
        try:
            self._full = not self._reserve.restore()
        except OSError as error:
            _logger.error("the log's reserve cannot be made: %s", error)

    def _settle(self, cycle: Cycle, fate: Fate) -> None:
        cycle.settled = {}
        for append in cycle.appends:
            settled = cycle.settled.setdefault(append.on_settled, [])
            settled.extend(Settled(record.tag, fate, -1) for record in append.records)

    def _fail_tasks(self, cycle: Cycle, reason: str) -> None:
        cycle.results = [LogUnavailable(f"not written: {reason}")] * len(cycle.tasks)
