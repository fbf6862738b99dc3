"""The processes that are the clients, as the coordinator sees them."""

import asyncio
import json
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check.connections.client_process import Spec, command, spec_line
from check.connections.ledger import ClientLedger
from check.histogram import Histogram

TIMES = ("connect", "late", "accept", "latency", "return")
_STOP_S = 30.0
_MAX_LINE_BYTES = 1 << 24


class ClientsFailed(Exception):
    """A process of clients has ended; the message says what it wrote."""


@dataclass(slots=True)
class Seen:
    """What all client processes have counted so far, by the names that `client_process.py` gives it."""

    counts: Counter[str] = field(default_factory=Counter)
    last_us: int = 0
    """When the last message came to any of them, by the system's monotonic clock."""
    failed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)


class Fleet:
    """Client processes; `async with` starts them and ends them, however that block ends."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self._specs = specs
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._last: list[dict[str, Any]] = [{} for _ in specs]
        self._done: Counter[str] = Counter()
        self._reports = [0 for _ in specs]
        self._changed = asyncio.Event()
        self._times = _no_times()
        self._latest = Histogram()

    async def __aenter__(self) -> "Fleet":
        try:
            for at, spec in enumerate(self._specs):
                await self._start(at, spec)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [process.pid for process in self._processes]

    def seen(self) -> Seen:
        """The sum of what they said last."""
        seen = Seen()
        for last in self._last:
            for name, value in last.items():
                if name in ("failed", "rejected", "ended"):
                    getattr(seen, name).update(value)
                elif name == "last_us":
                    seen.last_us = max(seen.last_us, value)
                else:
                    seen.counts[name] += value
        return seen

    def take_times(self) -> dict[str, Histogram]:
        """Times since they were last taken, by the names in TIMES."""
        taken, self._times = self._times, _no_times()
        return taken

    def take_latest(self) -> Histogram:
        """Latencies since they were last taken by this, which takes nothing from `take_times`."""
        taken, self._latest = self._latest, Histogram()
        return taken

    def tell(self, *words: object) -> None:
        """Give a command to all of them."""
        self._done[str(words[0])] = 0
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(command(words).encode() + b"\n")

    async def done(self, what: str) -> None:
        """Until all of them have said that they are done with this. Raises ClientsFailed."""
        await self._until(lambda: self._done[what] == len(self._specs))

    async def reported(self) -> None:
        """Until each of them has said what it has counted since. Raises ClientsFailed."""
        before = list(self._reports)
        await self._until(lambda: all(now > then for now, then in zip(self._reports, before, strict=True)))

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()
            for reader in self._readers:
                if reader.done():
                    reader.result()

    def ledgers(self) -> list[ClientLedger]:
        """Of all clients that were live, once "finish" is done."""
        found: list[ClientLedger] = []
        for spec in self._specs:
            found += pickle.loads(Path(spec.ledger_file).read_bytes())
        return found

    async def _start(self, at: int, spec: Spec) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "check.connections.client_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_MAX_LINE_BYTES,
        )
        self._processes.append(process)
        assert process.stdin is not None
        process.stdin.write(spec_line(spec).encode() + b"\n")
        self._readers.append(asyncio.create_task(self._read(at, process)))

    async def _read(self, at: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            said = json.loads(line)
            if "done" in said:
                self._done[said["done"]] += 1
            else:
                for name, (counts, largest) in said.pop("times").items():
                    told = Histogram({int(bucket): count for bucket, count in counts.items()}, largest)
                    self._times[name].merge(told)
                    if name == "latency":
                        self._latest.merge(told)
                self._last[at] = said
                self._reports[at] += 1
            self._changed.set()
        self._changed.set()
        raise ClientsFailed(f"client process {at} has ended with {await process.wait()}")

    async def _stop(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            await _ended(process)


def _no_times() -> dict[str, Histogram]:
    return {name: Histogram() for name in TIMES}


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait until it has ended, as it does when its input ends; kill it where it does not."""
    try:
        await asyncio.wait_for(process.communicate(), _STOP_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
