"""What one measurement found, as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from check.connections.ledger import Verdict
from check.connections.phase import Phase
from check.histogram import Histogram

CLIENTS = "clients"
"""The role of the processes that are the clients: not a part of what is measured."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of a run."""

    at_s: float
    doing: str
    connected: int
    sent_per_s: float
    delivered_per_s: float
    p50_ms: float
    p99_ms: float
    """Of what was delivered in this second; 0 where nothing was."""
    cores: Mapping[str, float]
    """By role."""
    rss_mib: Mapping[str, int]
    """By role."""
    kernel_mib: int
    """Of the whole machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """All clients have connected, or failed to."""

    live: int
    failed: Mapping[str, int]
    """By reason."""
    seconds: float
    times: Histogram
    """Microseconds until a client was live."""
    cpu_us: Mapping[str, float]
    """By role, for all of them to connect."""
    kb_per_stream: float
    """Of the processes that hold them."""
    client_kb_per_stream: float
    kernel_kb_per_stream: float
    """Of the kernel, for both ends of the connection."""
    idle_cores: Mapping[str, float]
    """By role, with all streams and no message."""

    def figures(self) -> dict[str, float]:
        """By name, with the unit in the name."""
        return {
            "connected": self.live,
            "failed": sum(self.failed.values()),
            "connects_per_s": self.live / self.seconds,
            "connect_cpu_us": sum(us for role, us in self.cpu_us.items() if role != CLIENTS)
            / max(self.live, 1),
            "connect_p50_ms": self.times.percentile(50) / 1e3,
            "connect_p99_ms": self.times.percentile(99) / 1e3,
            "kb_per_stream": self.kb_per_stream,
            "kernel_kb_per_stream": self.kernel_kb_per_stream,
            "client_kb_per_stream": self.client_kb_per_stream,
            **{f"idle_cores_of_{role}": cores for role, cores in self.idle_cores.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What clients have sent in one phase, and what came of it."""

    phase: Phase
    seconds: float
    """From when the first message was due until nothing was missing, or nothing came any more."""
    sent: int
    accepted: int
    delivered: int
    """Messages that reached a recipient, once for each."""
    own: int
    """Messages that came to their senders' own streams."""
    doubled: int
    out_of_order: int
    rejected: Mapping[str, int]
    ended: Mapping[str, int]
    """Streams that ended, by reason."""
    times: Mapping[str, Histogram]
    """Microseconds: `late`, `accept`, `latency`."""
    cpu_us: Mapping[str, float]
    """By role."""
    rss_kb: Mapping[str, int]
    """By role, at the end."""

    @property
    def cpu_us_per_delivery(self) -> float:
        """Of all roles but the clients."""
        return sum(used for role, used in self.cpu_us.items() if role != CLIENTS) / max(self.delivered, 1)

    def figures(self) -> dict[str, float]:
        """By name, with the unit in the name."""
        accept, latency, late = (self.times[name] for name in ("accept", "latency", "late"))
        return {
            "sent_per_s": self.sent / self.seconds,
            "delivered_per_s": self.delivered / self.seconds,
            **{f"accept_{name}_ms": value for name, value in accept.summary_ms().items() if len(accept)},
            **{f"latency_{name}_ms": value for name, value in latency.summary_ms().items()},
            "late_p50_ms": late.percentile(50) / 1e3,
            "late_p99_ms": late.percentile(99) / 1e3,
            "cpu_us_per_delivery": self.cpu_us_per_delivery,
            **{
                f"cpu_us_per_delivery_of_{role}": used / max(self.delivered, 1)
                for role, used in self.cpu_us.items()
            },
        }

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "times"}
        histograms = {name: times.as_json() for name, times in self.times.items()}
        return {**raw, "phase": asdict(self.phase), "histograms": histograms}


@dataclass(frozen=True, slots=True)
class Run:
    """All that was seen of a cell, or of the echo server."""

    kind: str
    connected: Connected
    sent: Sequence[Sent]
    """Phase by phase."""
    verdicts: Sequence[Verdict]
    """Of each phase."""
    moments: Sequence[Moment]

    @property
    def faults(self) -> Mapping[str, int]:
        """What must not be, where it is."""
        counts = {
            "lost": sum(verdict.lost for verdict in self.verdicts),
            "doubled": sum(sent.doubled for sent in self.sent),
            "out of order": sum(sent.out_of_order for sent in self.sent),
            "refused but told": sum(verdict.refused_but_told for verdict in self.verdicts),
            "told but never sent": sum(verdict.never_sent for verdict in self.verdicts),
        }
        return {name: count for name, count in counts.items() if count}

    def figures(self) -> dict[str, float]:
        """The numbers of connecting and of the last phase, and those that must be 0."""
        known = {
            **self.connected.figures(),
            **self.sent[-1].figures(),
            "lost": self.faults.get("lost", 0),
            "doubled": self.faults.get("doubled", 0),
            "out_of_order": self.faults.get("out of order", 0),
        }
        return {name: round(value, 3) for name, value in known.items()}

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "figures": self.figures(),
            "connected": {**asdict(self.connected), "times": self.connected.times.as_json()},
            "sent": [sent.as_json() for sent in self.sent],
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "moments": [asdict(moment) for moment in self.moments],
        }


def ratios(cell: Run, echo: Run) -> dict[str, float]:
    """The cell by what grpcio itself costs, with the same streams and frames."""
    names = (
        "kb_per_stream",
        "kernel_kb_per_stream",
        "cpu_us_per_delivery",
        "latency_p50_ms",
        "latency_p99_ms",
    )
    ours, raw = cell.figures(), echo.figures()
    return {f"{name}_over_echo": round(ours[name] / raw[name], 3) for name in names if raw[name] > 0}
