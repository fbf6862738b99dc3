"""What processes have used so far, read from /proc."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1_024


class Usage(NamedTuple):
    """What a process, or several together, has used so far."""

    cpu_us: float
    """User and system time of all its threads, in steps of a clock tick."""
    rss_kb: int


def usage_of(pid: int) -> Usage:
    """Of one process. Raises OSError where it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return Usage(ticks * 1e6 / _TICKS_PER_SECOND, int(rss.split()[1]))


def usage_of_all(pids: Iterable[int]) -> Usage:
    """Of several processes together; one that is gone counts nothing."""
    cpu_us, rss_kb = 0.0, 0
    for pid in pids:
        try:
            used = usage_of(pid)
        except (OSError, StopIteration):
            continue
        cpu_us += used.cpu_us
        rss_kb += used.rss_kb
    return Usage(cpu_us, rss_kb)


def kernel_kb() -> int:
    """What the kernel of this machine keeps for itself and for the buffers of TCP, which is where connections show."""
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    tcp = next(
        line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")
    )
    buffers_kb = int(tcp.split()[-1]) * _PAGE_KB
    return int(memory["SUnreclaim"].split()[0]) + buffers_kb
