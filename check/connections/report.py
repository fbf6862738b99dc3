"""Figures as a person reads them: the cell beside the raw echo."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from check.connections.result import Run
from check.histogram import Histogram

_PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9", "max")


def table(runs: Sequence[Run]) -> Table:
    """A column for each run."""
    made = Table("", *(run.kind for run in runs))
    for title in _rows(runs[-1]):
        made.add_row(title, *(_rows(run).get(title, "") for run in runs))
    return made


def _rows(run: Run) -> Mapping[str, str]:
    connected, sent = run.connected, run.sent[-1]
    verdict, faults = run.verdicts[-1], run.faults
    deliveries = max(sent.delivered, 1)
    return {
        "streams live": f"{connected.live:,}",
        "failed": _reasons(connected.failed),
        "ended later": _reasons(sent.ended),
        "connected in": f"{connected.seconds:,.1f} s, {connected.live / connected.seconds:,.0f} a second",
        "CPU a stream that connects, µs": _by_role(
            {role: us / max(connected.live, 1) for role, us in connected.cpu_us.items()}, ",.0f"
        ),
        f"live after, ms: {', '.join(_PERCENTILES)}": _of(connected.times),
        "messages sent": f"{sent.sent:,} in {sent.seconds:,.1f} s, {sent.sent / sent.seconds:,.0f} a second",
        "rejected": _reasons(sent.rejected),
        "without an outcome": f"{verdict.unknown:,}",
        "delivered": f"{sent.delivered:,}, {sent.delivered / sent.seconds:,.0f} a second",
        "expected, with senders' own": f"{verdict.expected:,}",
        "lost, or told wrongly": "\n".join(f"{count:,} {what}" for what, count in faults.items()) or "none",
        "sent late, ms": _of(sent.times["late"]),
        "accepted, ms": _of(sent.times["accept"]),
        "end to end, ms": _of(sent.times["latency"]),
        "CPU a delivery, µs": f"{sent.cpu_us_per_delivery:,.1f}",
        "  by role": _by_role({role: used / deliveries for role, used in sent.cpu_us.items()}, ",.1f"),
        "cores, no message": _by_role(connected.idle_cores, ".3f"),
        "memory a stream, KB": f"{connected.kb_per_stream:,.1f}, "
        f"kernel {connected.kernel_kb_per_stream:,.1f} for both ends",
        "MiB at the end": _by_role({role: kb / 1_024 for role, kb in sent.rss_kb.items()}, ",.0f"),
    }


def _of(times: Histogram) -> str:
    summary = times.summary_ms()
    return "  ".join(f"{summary[name]:,.1f}" for name in _PERCENTILES) if len(times) else ""


def _by_role(values: Mapping[str, float], kind: str) -> str:
    return "\n".join(f"{role} {value:{kind}}" for role, value in values.items())


def _reasons(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"
