"""Deletes the embedded log's old records, a step at a time, but none that a group still needs."""

import asyncio
from collections.abc import Callable, Sequence

from event_log import embedded_file as file
from event_log.commit_metadata import tail_start_of
from event_log.embedded_settings import EmbeddedLogSettings
from event_log.embedded_writer import Task
from messaging_core.clock import steady_us

_NEXT_STEP_S = 0.1


class Retention:
    """Has the writer delete a step's worth every now and then, and the next one soon while there is more.

    A group that ever joined holds what it has not committed, for good: nothing it may come back for is lost.
    """

    def __init__(
        self,
        state: file.LogState,
        ends: Sequence[int],
        write: Callable[[Task], None],
        settings: EmbeddedLogSettings,
    ) -> None:
        self._state = state
        self._ends = ends
        self._write = write
        self._retention_us = int(settings.retention_s * 1_000_000)
        self._interval_s = settings.retention_interval_s
        self._closed = False
        self._schedule(self._interval_s)

    def close(self) -> None:
        """No more steps."""
        self._closed = True
        self._timer.cancel()

    def _schedule(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._step)

    def _step(self) -> None:
        floors = self._floors()
        if not floors:
            self._schedule(self._interval_s)
            return
        older_than_us = steady_us() - self._retention_us
        ends = tuple(self._ends)
        self._write(Task(lambda connection: file.trim(connection, older_than_us, floors, ends), self._done))

    def _done(self, result: object) -> None:
        starts = result if isinstance(result, dict) else {}  # else it failed: later again
        for partition, start in starts.items():
            self._state.start_offsets[partition] = start
        if not self._closed:
            self._schedule(_NEXT_STEP_S if starts else self._interval_s)

    def _floors(self) -> dict[int, int]:
        """Per partition what every group is done with, where that is more than the log's start."""
        groups = self._state.committed.values()
        floors = {}
        for partition, start in enumerate(self._state.start_offsets):
            commits = [commits.get(partition) for commits in groups]
            floor = min((tail_start_of(commit) if commit else 0 for commit in commits), default=0)
            if floor > start:
                floors[partition] = floor
        return floors
