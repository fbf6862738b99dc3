"""What a run takes, and whether this machine allows it: said before anything is started, with what to change and why."""

import math
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from check.connections.options import Options

_SPARE_FILES = 300
"""Of a process beside its streams: engines, links, libraries."""
_UNEVEN = 1.05
"""Workers share a port, and the kernel gives each its share only by chance."""
_SOURCE_STREAMS = 20_000
"""From one loopback address, well below the ports that it has."""
_STREAM_KB = {False: 41 + 10 + 12, True: 80 + 60 + 12}
"""In server, client and kernel, without and with TLS, for a guess."""
_ENGINES_KB = 3 << 20


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a run takes."""

    what: str
    needed: int
    allowed: int
    advice: str
    """What to change where too little is allowed."""

    @property
    def is_met(self) -> bool:
        """Whether the machine allows it."""
        return self.needed <= self.allowed


def sources(options: Options) -> list[str]:
    """Loopback addresses for clients to connect from, as many as ports are needed for. All of 127/8 is there on Linux."""
    count = math.ceil(options.connections / _SOURCE_STREAMS)
    return [f"127.0.{1 + at // 250}.{1 + at % 250}" for at in range(count)]


def needs(options: Options, read: Callable[[str], str] | None = None) -> Sequence[Need]:
    """What the run takes. `read` gives the text of a file below /proc."""
    read = read or _read
    streams = options.connections
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    first_port, last_port = map(int, read("sys/net/ipv4/ip_local_port_range").split())
    backlog = min(int(read("sys/net/core/somaxconn")), int(read("sys/net/ipv4/tcp_max_syn_backlog")))
    found = [
        Need(
            "descriptors of a server's process, each stream is one",
            int(streams / options.workers * (_UNEVEN if options.workers > 1 else 1)) + _SPARE_FILES,
            descriptors,
            "raise `ulimit -Hn`, or take more --workers",
        ),
        Need(
            "descriptors of a client process",
            math.ceil(streams / options.client_processes) + _SPARE_FILES,
            descriptors,
            "raise `ulimit -Hn`, or take more --client-processes",
        ),
        Need(
            f"ports of each of {len(sources(options))} source addresses towards one server",
            math.ceil(streams / len(sources(options))),
            last_port - first_port + 1,
            'widen it: sysctl net.ipv4.ip_local_port_range="10000 65000"',
        ),
        Need(
            "connections that wait to be accepted; beyond, the kernel drops some and they take a second longer",
            options.client_processes * options.opening,
            backlog,
            "raise sysctl net.core.somaxconn and net.ipv4.tcp_max_syn_backlog, or lower --opening",
        ),
        Need(
            "open files of the machine, two for each stream",
            2 * streams,
            int(read("sys/fs/file-max")),
            "raise sysctl fs.file-max",
        ),
        Need(
            "memory in MiB, as a guess",
            (streams * _STREAM_KB[options.tls] + (_ENGINES_KB if options.engine == "kafka" else 0)) // 1_024,
            _available_kb(read("meminfo")) // 1_024,
            "take fewer --connections",
        ),
    ]
    try:
        tracked = int(read("sys/net/netfilter/nf_conntrack_max"))
    except OSError:
        return found
    advice = "raise sysctl net.netfilter.nf_conntrack_max, or do not track loopback"
    return [*found, Need("connections that the firewall tracks", streams, tracked, advice)]


def told(found: Sequence[Need]) -> str:
    """A line for each need."""
    lines = []
    for need in found:
        lines.append(
            f"{'ok ' if need.is_met else 'NO '} {need.needed:>9,} of {need.allowed:>13,.0f}  {need.what}"
            + ("" if need.is_met else f": {need.advice}")
        )
    return "\n".join(lines)


def description() -> dict[str, object]:
    """The machine, for whoever reads its figures later."""
    model = next((line for line in _read("cpuinfo").splitlines() if line.startswith("model name")), ":")
    memory = next(line for line in _read("meminfo").splitlines() if line.startswith("MemTotal"))
    return {
        "cores": os.cpu_count(),
        "cpu": model.partition(":")[2].strip(),
        "memory_mib": int(memory.split()[1]) // 1_024,
        "kernel": os.uname().release,
        "load_before": os.getloadavg()[0],
    }


def _available_kb(meminfo: str) -> int:
    return int(next(line for line in meminfo.splitlines() if line.startswith("MemAvailable")).split()[1])


def _read(name: str) -> str:
    return (Path("/proc") / name).read_text()
