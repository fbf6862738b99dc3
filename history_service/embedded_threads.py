"""The threads of the embedded store: one writes, a few read, tasks wait."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from history_service.embedded_file import FILE, transaction
from history_service.port import StoreError, StoreUnavailable
from messaging_core.sqlite import end_if_fsync_failed

R = TypeVar("R")

_logger = logging.getLogger(__name__)

_MAX_WAITING = 4_096
"""Jobs that wait for the writer, and for the readers; beyond it a call fails as unavailable."""
_CHECKPOINT_EVERY_ROWS = 8_192
"""Of a few hundred bytes each, in a page of their own at worst: 32 MiB of write-ahead log or so."""
_MAX_WAL_PAGES = 16_384
"""64 MiB: what readers that never all leave may let it grow to."""
_HOPELESS = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB)
"""Errors that stay when one tries again."""


class Job(Generic[R]):
    """Something to run with a connection, for a task that waits."""

    __slots__ = ("error", "future", "result", "run")

    def __init__(self, run: Callable[[sqlite3.Connection], R]) -> None:
        self.run = run
        self.result: R | None = None
        self.error: Exception | None = None
        self.future: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()

    def settle(self) -> None:
        """Wake the task; on its loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


RunJobs = Callable[[sqlite3.Connection, Sequence[Job[Any]]], None]


class Workers:
    """Threads that take jobs from one queue, each with a connection of its own."""

    def __init__(
        self, name: str, connections: Sequence[sqlite3.Connection], run_jobs: RunJobs, jobs_at_once: int
    ) -> None:
        self._run_jobs = run_jobs
        self._jobs_at_once = jobs_at_once
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._threads = [
            Thread(target=self._work, args=(connection,), name=f"{name}-{number}", daemon=True)
            for number, connection in enumerate(connections)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, run: Callable[[sqlite3.Connection], R]) -> R:
        """What `run` returns. Raises StoreUnavailable, StoreError."""
        if self._closing:
            raise StoreUnavailable("the store is closed")
        if self._queue.qsize() >= _MAX_WAITING:
            raise StoreUnavailable("too many calls wait for the store")
        job = Job(run)
        self._queue.put(job)
        result: R = await job.future  # type: ignore[assignment]
        return result

    async def close(self) -> None:
        """Finish what waits and end the threads."""
        if not self._closing:
            self._closing = True
            for _ in self._threads:
                self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _work(self, connection: sqlite3.Connection) -> None:
        with closing(connection):
            while jobs := self._take():
                self._run_jobs(connection, jobs)
                self._loop.call_soon_threadsafe(_settle, jobs)

    def _take(self) -> list[Job[Any]]:
        """At least one job, or none once there will be no more."""
        jobs: list[Job[Any]] = []
        with suppress(Empty):
            while len(jobs) < self._jobs_at_once:
                job = self._queue.get(block=not jobs)
                if job is None:
                    if jobs:
                        self._queue.put(None)
                    break
                jobs.append(job)
        return jobs


def _settle(jobs: Sequence[Job[Any]]) -> None:
    for job in jobs:
        job.settle()


class WriteRunner:
    """Runs jobs in one transaction; if that fails, each in its own, so that none fails for another.

    Moves pages from the write-ahead log into the database between transactions, where it can finish: then the next one
    starts the log over. A log that only grows costs three times as much. Nobody waits for a commit of history to be told
    Accepted, so a checkpoint need not have a thread of its own here.
    """

    def __init__(self) -> None:
        self._checkpointed = 0

    def __call__(self, connection: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
        """Run them; no error leaves here."""
        try:
            with transaction(connection, "begin immediate"):
                for job in jobs:
                    job.run(connection)
        except Exception as error:
            end_if_fsync_failed(error)
            if len(jobs) == 1:
                jobs[0].error = _translated(error)
                return
            for job in jobs:
                self(connection, (job,))
        if connection.total_changes - self._checkpointed >= _CHECKPOINT_EVERY_ROWS:
            self._checkpointed = connection.total_changes
            _checkpoint(connection)


def _checkpoint(connection: sqlite3.Connection) -> None:
    try:
        _, pages, _ = connection.execute("pragma wal_checkpoint(passive)").fetchone()
        if pages > _MAX_WAL_PAGES:  # wait for readers to leave
            connection.execute("pragma wal_checkpoint(restart)").fetchone()
    except sqlite3.Error as error:
        end_if_fsync_failed(error)
        _logger.warning("a checkpoint of %s failed and will be tried again: %s", FILE, error)


def run_reads(connection: sqlite3.Connection, jobs: Sequence[Job[Any]]) -> None:
    """Run each on a snapshot of its own; no error leaves here."""
    for job in jobs:
        try:
            with transaction(connection, "begin"):
                job.result = job.run(connection)
        except Exception as error:
            job.error = _translated(error)


def _translated(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return StoreError(f"{FILE}: {error}") if code in _HOPELESS else StoreUnavailable(f"{FILE}: {error}")
