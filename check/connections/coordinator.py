"""One measurement from start to end: all clients connect, then they send, and what it cost is read from outside."""

import asyncio
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from check.connections import machine
from check.connections.client_process import Spec
from check.connections.fleet import Fleet, Seen
from check.connections.ledger import ClientLedger, judge
from check.connections.options import Options, shares
from check.connections.phase import Phase
from check.connections.recipients import SELF
from check.connections.result import CLIENTS, Connected, Moment, Run, Sent
from check.connections.targets import ECHO, Target, running
from check.connections.warm_up import warm_up
from check.load import now_us
from check.usage import Usage, kernel_kb, usage_of_all

_SAMPLE_S = 1.0
_CALM_S = 3.0
"""After which a server has nothing left to do of what was before."""
_AHEAD_US = 1_000_000
"""From saying so until the first message is due."""
_MOST_SEND_TIMES = 4
"""A phase ends when sending takes so many times what it should, at the latest."""

Say = Callable[[str], None]
Usages = Mapping[str, Usage]


async def measure(kind: str, options: Options, say: Say) -> Run:
    """Start what is to be measured, measure one phase and stop it. `say` is told how far it is, in one line each time."""
    async with measurement(kind, options, say) as under_way:
        connected = await under_way.connect()
        recipients = SELF if kind == ECHO else options.recipients
        sent = await under_way.send(Phase(recipients, 0, options.messages, options.rate))
        ledgers = await under_way.finish()
        verdict = judge(ledgers, sent.phase, options.connections, options.seed)
        return Run(kind, connected, [sent], [verdict], under_way.moments)


@asynccontextmanager
async def measurement(kind: str, options: Options, say: Say) -> AsyncIterator["Measurement"]:
    """What is to be measured and its clients, running; both are gone afterwards, however the block ends."""
    say(f"{kind}: starting")
    async with running(kind, options) as target:
        await warm_up(target)
        with tempfile.TemporaryDirectory(prefix="check-clients-") as folder:
            async with Fleet(_specs(target, options, Path(folder))) as fleet:
                await asyncio.sleep(_calm_s(options))
                under_way = Measurement(target, options, fleet, say)
                watching = asyncio.create_task(under_way.watch())
                try:
                    yield under_way
                finally:
                    watching.cancel()
                    with suppress(asyncio.CancelledError):
                        await watching


class Measurement:
    """A target and a fleet of clients, and the steps that are measured."""

    def __init__(self, target: Target, options: Options, fleet: Fleet, say: Say) -> None:
        self.target = target
        self.moments: list[Moment] = []
        """Each second so far."""
        self._options = options
        self._fleet = fleet
        self._say = say
        self._pids: Mapping[str, Sequence[int]] = {**target.pids, CLIENTS: fleet.pids}
        self._started_s = time.monotonic()
        self._doing = "waiting"
        self._before = Seen()

    async def connect(self) -> Connected:
        """Connect all clients, and watch them for a while. Those that fail are counted and left out."""
        empty, empty_kernel_kb = self.usages(), kernel_kb()
        self._doing = "connecting"
        started_s = time.monotonic()
        self._fleet.tell("connect")
        await self._fleet.done("connect")
        took_s = time.monotonic() - started_s
        connecting = _cpu_us(empty, self.usages())
        self._doing = "idle"
        await asyncio.sleep(_calm_s(self._options))
        full, full_kernel_kb = self.usages(), kernel_kb()
        await asyncio.sleep(self._options.idle_s)
        idle = _cpu_us(full, self.usages())
        await self._fleet.reported()
        seen = self._fleet.seen()
        live = max(seen.counts["connected"], 1)
        holder = self.target.holder
        return Connected(
            live=seen.counts["connected"],
            failed=dict(seen.failed),
            seconds=took_s,
            times=self._fleet.take_times()["connect"],
            cpu_us=connecting,
            kb_per_stream=(full[holder].rss_kb - empty[holder].rss_kb) / live,
            client_kb_per_stream=(full[CLIENTS].rss_kb - empty[CLIENTS].rss_kb) / live,
            kernel_kb_per_stream=(full_kernel_kb - empty_kernel_kb) / live,
            idle_cores={role: us / 1e6 / max(self._options.idle_s, 1e-9) for role, us in idle.items()},
        )

    async def send(self, phase: Phase) -> Sent:
        """Let all clients send, and wait until all of it has come, or nothing comes any more."""
        before, earlier = self.usages(), self._fleet.seen()
        self._doing = "sending"
        took_s = await self._until_come(phase, earlier)
        after = self.usages()
        await self._fleet.reported()
        seen = self._fleet.seen()
        counts = Counter(seen.counts)
        counts.subtract(earlier.counts)
        self._doing = "waiting"
        return Sent(
            phase=phase,
            seconds=took_s,
            sent=counts["sent"],
            accepted=counts["accepted"],
            delivered=counts["delivered"],
            own=counts["own"],
            doubled=counts["doubled"],
            out_of_order=counts["out_of_order"],
            rejected=dict(seen.rejected - earlier.rejected),
            ended=dict(seen.ended - earlier.ended),
            times=self._fleet.take_times(),
            cpu_us=_cpu_us(before, after),
            rss_kb={role: used.rss_kb for role, used in after.items()},
        )

    async def finish(self) -> list[ClientLedger]:
        """What each client that was live has written down. They leave."""
        self._fleet.tell("finish")
        await self._fleet.done("finish")
        return self._fleet.ledgers()

    async def watch(self) -> None:
        """Write down every second, until cancelled. Raises where something has ended by itself."""
        last, last_s, last_seen = self.usages(), time.monotonic(), self._fleet.seen()
        while True:
            await asyncio.sleep(_SAMPLE_S)
            now, now_s, seen = self.usages(), time.monotonic(), self._fleet.seen()
            moment = self._moment(last, now, now_s - last_s, last_seen, seen)
            self.moments.append(moment)
            self._say(f"{self.target.kind}: {self._doing}, {_progress(moment, seen)}")
            last, last_s, last_seen = now, now_s, seen

    async def _until_come(self, phase: Phase, earlier: Seen) -> float:
        """Seconds from when the first message was due until the last one came."""
        options, fleet = self._options, self._fleet
        # An echo is its own outcome; a message has one besides.
        outcomes = 0 if self.target.kind == ECHO else options.connections * phase.messages
        expected = phase.deliveries(options.connections, options.seed) + outcomes + _come(earlier)
        start_us = now_us() + _AHEAD_US
        fleet.tell("send", start_us, asdict(phase))
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SEND_TIMES * phase.seconds + 10 * options.settle_s):
                await fleet.done("send")
        changed_s, come = time.monotonic(), -1
        while time.monotonic() - changed_s < options.settle_s and come < expected:
            self.target.check()
            if (now := _come(fleet.seen())) != come:
                changed_s, come = time.monotonic(), now
            await asyncio.sleep(0.1)
        return max((fleet.seen().last_us - start_us) / 1e6, 1e-3)

    def leave_out(self, pid: int) -> None:
        """What this process has used counts no more."""
        self._pids = {role: [one for one in pids if one != pid] for role, pids in self._pids.items()}

    def kill(self, pid: int) -> None:
        """Kill -9 one process of what is measured, and leave it out."""
        self.leave_out(pid)
        os.kill(pid, signal.SIGKILL)

    def seen(self) -> Seen:
        """What the clients have counted so far."""
        return self._fleet.seen()

    def usages(self) -> Usages:
        """What each role has used so far."""
        return {role: usage_of_all(pids) for role, pids in self._pids.items()}

    def _moment(self, last: Usages, now: Usages, took_s: float, before: Seen, seen: Seen) -> Moment:
        latest = self._fleet.take_latest()
        return Moment(
            at_s=round(time.monotonic() - self._started_s, 1),
            doing=self._doing,
            connected=seen.counts["connected"],
            sent_per_s=round((seen.counts["sent"] - before.counts["sent"]) / took_s, 1),
            delivered_per_s=round((seen.counts["delivered"] - before.counts["delivered"]) / took_s, 1),
            p50_ms=latest.percentile(50) / 1e3,
            p99_ms=latest.percentile(99) / 1e3,
            cores={role: round(us / 1e6 / took_s, 3) for role, us in _cpu_us(last, now).items()},
            rss_mib={role: used.rss_kb // 1_024 for role, used in now.items()},
            kernel_mib=kernel_kb() // 1_024,
        )


def _calm_s(options: Options) -> float:
    return min(_CALM_S, options.idle_s)


def _come(seen: Seen) -> int:
    """All that has come to clients."""
    return seen.counts["delivered"] + seen.counts["own"] + seen.counts["accepted"]


def _cpu_us(before: Usages, after: Usages) -> dict[str, float]:
    return {role: after[role].cpu_us - before[role].cpu_us for role in before}


def _specs(target: Target, options: Options, folder: Path) -> list[Spec]:
    authorities = str(target.authorities) if target.authorities else None
    return [
        Spec(
            kind=target.kind,
            addresses=list(target.addresses),
            sources=machine.sources(options),
            first=first,
            count=count,
            clients=options.connections,
            seed=options.seed,
            opening=options.opening,
            open_timeout_s=options.open_timeout_s,
            comes_back=options.comes_back,
            verify_every=options.verify_every,
            authorities=authorities,
            ledger_file=str(folder / f"ledger-{first}"),
        )
        for first, count in shares(options.connections, options.client_processes)
    ]


def _progress(moment: Moment, seen: Seen) -> str:
    failed = f", {seen.failed.total():,} failed" if seen.failed else ""
    return (
        f"{moment.connected:,} live{failed}, "
        f"{moment.sent_per_s:,.0f} sent and {moment.delivered_per_s:,.0f} delivered a second, "
        f"p50 {moment.p50_ms:,.1f} ms, p99 {moment.p99_ms:,.1f} ms, {sum(moment.rss_mib.values()):,} MiB"
    )
