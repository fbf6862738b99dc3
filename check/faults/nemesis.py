"""Makes the faults of a schedule in a cell's parts, undoes each, and writes down when.

Its ledger has `fault` when one begins, `mended` when whatever was done is undone, `serving` when each part says that it
serves again, and `ended` where a process ended by itself. Faults that stop and start the same part wait for each other.
"""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from check.faults.ledger import LedgerFile
from check.faults.parts import Part, Parts
from check.faults.schedule import Fault

_SLOW_S = (0.05, 0.4)
_SLOW_BYTES_PER_S = (20_000.0, 400_000.0)
_CLOCK_S = (-20.0, 20.0)
"""How far a clock jumps. A cell's machines agree better than within a minute (architecture, Time)."""
_LOOK_EVERY_S = 0.3


class Nemesis:
    """Breaks one cell."""

    def __init__(self, parts: Parts, ledger: LedgerFile, seed: int) -> None:
        self._parts = parts
        self._ledger = ledger
        self._seed = seed
        self._watch: asyncio.Task[None] | None = None
        self._under_way = 0
        """Faults that are not undone yet."""

    async def start(self) -> None:
        """Start every process that is not running, and from now on those that end by themselves again."""
        for part in self._parts.processes.values():
            part.start()
        await self._all_serve()
        self._watch = asyncio.create_task(self._start_again())

    async def stop(self) -> None:
        """Kill every process."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for part in self._parts.processes.values():
            part.is_wanted = False
            await asyncio.to_thread(part.process.kill)

    async def run(self, faults: Iterable[Fault], say: Callable[[str], None]) -> None:
        """Make all of them, each at its time from now; returns when all are undone and everything serves."""
        start_s = time.monotonic()
        under_way: list[asyncio.Task[None]] = []
        try:
            for fault in faults:
                await asyncio.sleep(max(0.0, start_s + fault.at_s - time.monotonic()))
                under_way.append(asyncio.create_task(self._one(fault, say)))
            await asyncio.gather(*under_way)
            await self._all_serve()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _one(self, fault: Fault, say: Callable[[str], None]) -> None:
        make = MAKERS[fault.kind.partition(" ")[0]]
        self._ledger.write("fault", number=fault.number, kind=fault.kind, target=fault.target)
        say(str(fault))
        self._under_way += 1
        try:
            async with make(self, fault, random.Random(f"{self._seed} {fault.number}")):
                await asyncio.sleep(fault.lasts_s)
        finally:
            self._under_way -= 1
        self._ledger.write("mended", number=fault.number)
        await self._all_serve()
        self._ledger.write("serving", number=fault.number)

    async def _all_serve(self) -> None:
        parts = self._parts.processes.values()
        await asyncio.gather(*(part.wait_serving(lambda: self._under_way > 0) for part in parts))

    async def _start_again(self) -> None:
        """What an operator's supervisor does."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for name, part in self._parts.processes.items():
                if part.is_wanted and not part.lock.locked() and not part.process.is_running:
                    self._ledger.write("ended", name=name, why=part.process.tail()[-400:])
                    part.process.start()

    # Kinds.

    @asynccontextmanager
    async def _kill(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        if fault.target in self._parts.engines:
            engine = self._parts.engines[fault.target]
            async with engine.lock:
                await asyncio.to_thread(engine.server.kill)
                yield
                await asyncio.to_thread(engine.server.start)
            return
        async with self._stopped(fault.target) as part:
            await asyncio.to_thread(part.process.kill)
            yield

    @asynccontextmanager
    async def _worker(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        """Kill one of a server's workers; the server starts another one."""
        part = self._parts.processes[fault.target]
        async with part.lock:
            workers = part.process.workers()
            if workers:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(workers), signal.SIGKILL)
            yield

    @asynccontextmanager
    async def _freeze(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        if fault.target in self._parts.engines:
            engine = self._parts.engines[fault.target]
            async with engine.lock:
                engine.server.pause()
                yield
                engine.server.resume()
            return
        part = self._parts.processes[fault.target]
        async with part.lock:
            part.process.signal(signal.SIGSTOP)
            yield
            part.process.signal(signal.SIGCONT)

    @asynccontextmanager
    async def _restart(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        """Stop in good order, and start again."""
        async with self._stopped(fault.target) as part:
            await asyncio.to_thread(self._stop, part)
            yield

    @asynccontextmanager
    async def _roll(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        """Restart every process in turn, each when the one before serves again."""
        for name in self._parts.processes:
            async with self._stopped(name) as part:
                await asyncio.to_thread(self._stop, part)
            await part.wait_serving(lambda: self._under_way > 1)  # this fault is one of them
        yield

    def _stop(self, part: Part) -> None:
        try:
            code = part.process.stop()
        except subprocess.TimeoutExpired:
            self._ledger.write(
                "ended", name=part.process.name, why="it did not stop when asked, and was killed"
            )
            part.process.kill()
        else:
            if code:
                why = f"exit code {code} at a stop in good order:\n{part.process.tail()[-400:]}"
                self._ledger.write("ended", name=part.process.name, why=why)

    @asynccontextmanager
    async def _cut(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        async with self._broken(fault.target, lambda proxy: proxy.cut()):
            yield

    @asynccontextmanager
    async def _hold(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        async with self._broken(fault.target, lambda proxy: proxy.hold()):
            yield

    @asynccontextmanager
    async def _slow(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        delay_s, bytes_per_s = chance.uniform(*_SLOW_S), chance.uniform(*_SLOW_BYTES_PER_S)
        async with self._broken(fault.target, lambda proxy: proxy.slow(delay_s, bytes_per_s)):
            yield

    @asynccontextmanager
    async def _full(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        disk = self._parts.disk
        assert disk is not None
        async with self._parts.disk_lock:
            await asyncio.to_thread(disk.fill)
            yield
            disk.free()

    @asynccontextmanager
    async def _power(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        """The cell's only process and its disk go at once: the files are cut back to what was synced."""
        disk = self._parts.disk
        assert disk is not None
        async with self._parts.disk_lock, self._stopped(fault.target) as part:
            disk.lose_power()
            await asyncio.to_thread(part.process.kill)
            await asyncio.to_thread(disk.restore)
            yield

    @asynccontextmanager
    async def _clock(self, fault: Fault, chance: random.Random) -> AsyncIterator[None]:
        clock = self._parts.clocks[fault.target]
        clock.set(chance.uniform(*_CLOCK_S))
        yield
        clock.set(0)

    @asynccontextmanager
    async def _stopped(self, name: str) -> AsyncIterator[Part]:
        part = self._parts.processes[name]
        async with part.lock:
            part.is_wanted = False
            yield part
            part.start()

    @asynccontextmanager
    async def _broken(self, name: str, how: Callable[..., None]) -> AsyncIterator[None]:
        proxies = self._parts.networks[name]
        for proxy in proxies:
            how(proxy)
        yield
        for proxy in proxies:
            proxy.mend()


MAKERS = {
    "kill": Nemesis._kill,
    "worker": Nemesis._worker,
    "freeze": Nemesis._freeze,
    "restart": Nemesis._restart,
    "roll": Nemesis._roll,
    "cut": Nemesis._cut,
    "hold": Nemesis._hold,
    "slow": Nemesis._slow,
    "full": Nemesis._full,
    "power": Nemesis._power,
    "clock": Nemesis._clock,
}
"""By the first word of the kind."""
