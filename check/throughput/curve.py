"""One load at rising rates, over the same streams: what each rate costs, and the highest that holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from check.connections.coordinator import Measurement, Say, measurement
from check.connections.ledger import Verdict, judge
from check.connections.options import Options
from check.connections.phase import Phase
from check.connections.result import CLIENTS, Connected, Sent
from check.connections.targets import CELL

P99_BOUND_MS = 1_000.0
"""A rate holds while p99 is below this, and nothing is lost, doubled or refused."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a curve: who is written to, and how fast."""

    recipients: str
    total_rate: float
    """Messages a second of all clients together."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one step found."""

    step: Step
    sent: Sent
    verdict: Verdict
    deliveries: int
    """That were to come, senders' own included."""

    @property
    def come(self) -> int:
        """Deliveries that came, senders' own included."""
        return self.sent.delivered + self.sent.own

    @property
    def holds(self) -> bool:
        """Whether the cell keeps up at this rate."""
        sent, verdict = self.sent, self.verdict
        faults = (
            sent.doubled + sent.out_of_order + verdict.lost + verdict.refused_but_told + verdict.never_sent
        )
        is_whole = self.come == self.deliveries and not sent.rejected
        return is_whole and not faults and sent.times["latency"].percentile(99) < P99_BOUND_MS * 1e3

    @property
    def server_cores(self) -> Mapping[str, float]:
        """By role, but for the clients."""
        return {
            role: us / 1e6 / self.sent.seconds for role, us in self.sent.cpu_us.items() if role != CLIENTS
        }

    def figures(self) -> dict[str, float]:
        """By name, with the unit in the name."""
        cores = sum(self.server_cores.values())
        return {
            **self.sent.figures(),
            "come_per_s": self.come / self.sent.seconds,
            "deliveries_per_s_of_server_cpu": self.come / self.sent.seconds / max(cores, 1e-9),
            "server_cores": cores,
            "client_cores": self.sent.cpu_us[CLIENTS] / 1e6 / self.sent.seconds,
        }

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "recipients": self.step.recipients,
            "rate": self.step.total_rate,
            "holds": self.holds,
            "figures": {name: round(value, 3) for name, value in self.figures().items()},
            "expected": self.deliveries,
            "lost": self.verdict.lost,
            "sent": self.sent.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Curve:
    """All points of one load."""

    connected: Connected
    points: Sequence[Point]

    def highest(self, recipients: str) -> Point | None:
        """The point with the highest rate that holds, and all below it; None if not even the first one did."""
        found = None
        for point in sorted(self.points, key=lambda point: point.step.total_rate):
            if point.step.recipients == recipients:
                if not point.holds:
                    break
                found = point
        return found


async def climb(options: Options, steps: Sequence[Step], seconds: float, say: Say) -> Curve:
    """Take the steps one after the other, each for so long, on one cell with the same streams.

    After a rate that does not hold no higher one is tried for the same recipients.
    """
    async with measurement(CELL, options, say) as under_way:
        connected = await under_way.connect()
        sent: list[tuple[Step, Sent]] = []
        given_up: set[str] = set()
        first = 0
        for step in steps:
            if step.recipients in given_up:
                continue
            say(f"{step.total_rate:,.0f} messages a second to {step.recipients}")
            phase = _phase(step, options.connections, first, seconds)
            first += phase.messages
            found = await under_way.send(phase)
            sent.append((step, found))
            if not _keeps_up(found, phase, options):
                given_up.add(step.recipients)
        ledgers = await under_way.finish()
    points = [
        Point(
            step,
            found,
            judge(ledgers, found.phase, options.connections, options.seed),
            found.phase.deliveries(options.connections, options.seed),
        )
        for step, found in sent
    ]
    return Curve(connected, points)


async def once(under_way: Measurement, phase: Phase, options: Options) -> Point:
    """One phase and the end of all clients."""
    sent = await under_way.send(phase)
    verdict = judge(await under_way.finish(), phase, options.connections, options.seed)
    step = Step(phase.recipients, phase.rate * options.connections)
    return Point(step, sent, verdict, phase.deliveries(options.connections, options.seed))


def _phase(step: Step, clients: int, first: int, seconds: float) -> Phase:
    rate = step.total_rate / clients
    return Phase(step.recipients, first, max(1, round(rate * seconds)), rate)


def _keeps_up(sent: Sent, phase: Phase, options: Options) -> bool:
    come = sent.delivered + sent.own
    is_whole = come >= phase.deliveries(options.connections, options.seed) and not sent.rejected
    return is_whole and sent.times["latency"].percentile(99) < P99_BOUND_MS * 1e3
