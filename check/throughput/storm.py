"""A worker is killed, and all clients that it held come back at once: `python -m check.throughput.storm --help`.

Clients write to each other all the while. They come back as the SDK does, after a pause by chance, from the cursor where
they were, and the servers tell what they were served from. The exit code is 1 where one did not come back, or anything was
lost or came twice.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import uvloop
from rich.console import Console

from check.connections import machine
from check.connections.coordinator import Measurement, Say, measurement
from check.connections.figures import write_figures
from check.connections.ledger import Verdict, judge
from check.connections.options import Options, options_of, parser
from check.connections.phase import Phase
from check.connections.progress import stopping, teller
from check.connections.result import CLIENTS, Connected, Sent
from check.connections.targets import CELL
from check.throughput import returns
from check.throughput.returns import Served

_BEFORE_S, _AFTER_S = 10.0, 60.0
"""For which clients send before the kill, and after it."""
_USUAL_S = 5.0
"""Of the time before, in which it is measured what sending costs by itself."""
_BOUND_S = 300.0
"""For all clients to be back."""


@dataclass(frozen=True, slots=True)
class Storm:
    """What a kill did."""

    connected: Connected
    broken: int
    """Streams that ended."""
    returned: int
    all_back_s: float
    """From the kill until none was away."""
    cpu_us: Mapping[str, float]
    """In this time, by role; of the role that was hit without the process that was killed."""
    usual_cores: Mapping[str, float]
    """What the same processes used before, for what was sent."""
    served: Served
    """What the streams that came back were served from."""
    sent: Sent
    verdict: Verdict

    def figures(self) -> dict[str, float]:
        """By name, with the unit in the name."""
        back = self.sent.times["return"].summary_ms()
        return {
            "broken": self.broken,
            "not_back_failed": self.broken - self.returned,
            "all_back_ms": self.all_back_s * 1e3,
            **{f"back_{name}_ms": value for name, value in back.items()},
            **{
                f"cpu_us_per_return_of_{role}": us / max(self.returned, 1) for role, us in self.cpu_us.items()
            },
            **{
                f"cpu_us_per_return_beyond_usual_of_{role}": (us - self._usual_us(role))
                / max(self.returned, 1)
                for role, us in self.cpu_us.items()
            },
            "served_from_window": self.served.window,
            "sent_to_history": self.served.behind,
            "pages_of_history": self.served.pages,
            "lost": self.verdict.lost,
            "doubled": self.sent.doubled,
            "out_of_order": self.sent.out_of_order,
            "unknown": self.verdict.unknown,
        }

    def _usual_us(self, role: str) -> float:
        return self.usual_cores[role] * self.all_back_s * 1e6

    @property
    def is_sound(self) -> bool:
        """Whether everybody came back and got everything once."""
        faults = self.verdict.lost + self.verdict.never_sent + self.sent.doubled + self.sent.out_of_order
        return not faults and 0 < self.broken == self.returned


async def kill_a_worker(options: Options, total_rate: float, say: Say) -> Storm:
    """Connect all clients, let them send, kill one of the processes that hold streams, and wait until all are back."""
    rate = total_rate / options.connections
    phase = Phase("1", 0, max(1, round(rate * (_BEFORE_S + _AFTER_S))), rate)
    async with measurement(CELL, replace(options, comes_back=True), say) as under_way:
        connected = await under_way.connect()
        sending = asyncio.create_task(under_way.send(phase))
        target = under_way.target
        victim = target.pids[target.holder][0]
        under_way.leave_out(victim)
        await asyncio.sleep(_BEFORE_S - _USUAL_S)
        earlier, earlier_s = under_way.usages(), time.monotonic()
        await asyncio.sleep(_USUAL_S)
        served = await returns.fetch(target.metrics[1:])
        before, killed_s = under_way.usages(), time.monotonic()
        under_way.kill(victim)
        usual = {role: (used.cpu_us - earlier[role].cpu_us) / 1e6 for role, used in before.items()}
        broken, returned = await _all_back(under_way)
        all_back_s = time.monotonic() - killed_s
        after = under_way.usages()
        served_since = returns.since(served, await returns.fetch(target.metrics))
        sent = await sending
        verdict = judge(await under_way.finish(), phase, options.connections, options.seed)
    cpu_us = {role: after[role].cpu_us - used.cpu_us for role, used in before.items()}
    usual_cores = {role: used_s / (killed_s - earlier_s) for role, used_s in usual.items()}
    return Storm(connected, broken, returned, all_back_s, cpu_us, usual_cores, served_since, sent, verdict)


async def _all_back(under_way: Measurement) -> tuple[int, int]:
    """Until nobody is away: how many were, and how many came back; at the latest when time is over."""
    deadline_s = time.monotonic() + _BOUND_S
    while True:
        await asyncio.sleep(0.2)
        seen = under_way.seen()
        broken, returned = seen.ended.total(), seen.counts["returned"]
        if (broken and broken == returned) or time.monotonic() > deadline_s:
            return broken, returned


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; the exit code."""
    made = argparse.ArgumentParser(
        prog="python -m check.throughput.storm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--connections", type=int, default=32_000, help="streams of all workers together")
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--client-processes", type=int, default=2)
    made.add_argument("--total-rate", type=float, default=100.0, help="messages a second meanwhile")
    made.add_argument("--tls", action="store_true")
    made.add_argument("--json", type=Path, help="file for all figures")
    given = made.parse_args(arguments)
    if given.workers < 2:
        made.error("--workers must be at least 2: the others take over")
    words = ["--engine", "kafka", "--connections", str(given.connections), "--workers", str(given.workers)]
    words += ["--client-processes", str(given.client_processes), *(["--tls"] if given.tls else [])]
    options = options_of(parser("").parse_args(words))
    console, described = Console(stderr=True), machine.description()
    try:
        found = uvloop.run(_measure(options, given.total_rate, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("Stopped.")
        return 130
    figures = {name: round(value, 3) for name, value in found.figures().items()}
    for name, value in figures.items():
        print(f"{name}: {value:,g}")
    print(f"cores of the clients meanwhile: {found.cpu_us[CLIENTS] / 1e6 / found.all_back_s:.2f}")
    if given.json:
        rest = {"sent": found.sent.as_json(), "verdict": asdict(found.verdict)}
        run = asdict(options)
        write_figures(given.json, "check.throughput.storm", described, run, figures, rest, arguments)
    return 0 if found.is_sound else 1


async def _measure(options: Options, total_rate: float, console: Console) -> Storm:
    with stopping(), teller(console) as say:
        return await kill_a_worker(options, total_rate, say)


if __name__ == "__main__":
    sys.exit(main())
