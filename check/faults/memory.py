"""What memory the cell's processes hold while a run goes on, and whether it grows."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import linear_regression, mean
from typing import NamedTuple

from check.faults.ledger import LedgerFile, Line
from check.faults.parts import Parts

EVERY_S = 10.0
_LATER_PART = 0.75
"""Of a process's life: what it takes in the beginning is not growth."""
_LEAST_SAMPLES = 180
"""Half an hour: in less time a process shows how it starts, not whether it grows."""


class Growth(NamedTuple):
    """Of one process, over the later part of its life."""

    name: str
    lasted_s: float
    rss_kb: int
    """On average."""
    percent_an_hour: float
    """Of that; a straight line through all samples."""


async def watch(parts: Parts, ledger: LedgerFile) -> None:
    """Write down what each process holds, as `memory` lines with `name`, `pid` and `rss_kb`; until cancelled."""
    while True:
        for name, part in parts.processes.items():
            for pid in part.process.all_pids():
                if rss_kb := _rss_kb(pid):
                    ledger.write("memory", name=name, pid=pid, rss_kb=rss_kb)
        await asyncio.sleep(EVERY_S)


def growth(lines: Iterable[Line]) -> list[Growth]:
    """Of each process that lived long enough to tell."""
    lives: Mapping[tuple[str, int], list[Line]] = defaultdict(list)
    for line in lines:
        if line.kind == "memory":
            lives[line.data["name"], line.data["pid"]].append(line)
    return [_growth(name, samples) for (name, _), samples in lives.items() if len(samples) >= _LEAST_SAMPLES]


def _growth(name: str, samples: Sequence[Line]) -> Growth:
    later = samples[int(len(samples) * (1 - _LATER_PART)) :]
    sizes = [float(line.data["rss_kb"]) for line in later]
    slope, _ = linear_regression([line.t for line in later], sizes)
    average = mean(sizes)
    return Growth(name, samples[-1].t - samples[0].t, round(average), 100 * slope * 3_600 / average)


def _rss_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # it has just ended
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
