"""What a run of ghz, or of our own client, found; and both beside each other."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from check.ghz.load import Load

_OK = "OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Calls of one load by one client. Times are of whole calls, from when one began until it had ended."""

    client: str
    calls: int
    seconds: float
    average_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    codes: Mapping[str, int]
    """How calls ended, by the name of the gRPC status."""

    @property
    def calls_per_s(self) -> float:
        """That ended."""
        return self.calls / self.seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """A report, and what was seen of it from outside."""

    report: Report
    came: int
    """Messages that came to users' streams, each at its sender's and its recipient's."""
    server_cpu_us: float

    def faults(self, load: Load) -> Sequence[str]:
        """What is not as it should be, in words."""
        report = self.report
        found = [
            f"{count:,} calls ended with {code}"
            for code, count in report.codes.items()
            if code.upper() != _OK
        ]
        if report.calls != load.calls:
            found.append(f"{report.calls:,} calls were made, of {load.calls:,}")
        if self.came != (expected := expected_to_come(load)):
            found.append(f"{self.came:,} messages came, of {expected:,}")
        return [f"{load.name}, {report.client}: {fault}" for fault in found]

    def figures(self, load: Load) -> dict[str, float]:
        """By name, with the unit in the name."""
        times = {name: value for name, value in asdict(self.report).items() if name.endswith("_ms")}
        found = {
            **times,
            "calls_per_s": self.report.calls_per_s,
            "messages_per_s": self.report.calls_per_s * load.messages_per_call,
            "server_cpu_us_per_message": self.server_cpu_us / max(load.calls * load.messages_per_call, 1),
            "failed": sum(count for code, count in self.report.codes.items() if code.upper() != _OK),
            "lost": max(0, expected_to_come(load) - self.came),
        }
        return {
            f"{load.name}, {self.report.client}: {name}": round(value, 3) for name, value in found.items()
        }


def expected_to_come(load: Load) -> int:
    """Messages at all users' streams: each comes to its sender and to its one recipient."""
    return 2 * load.calls * load.messages_per_call


def of_ghz(told: Mapping[str, Any]) -> Report:
    """What ghz told as JSON, where durations are nanoseconds. Raises ValueError where there is no call in it."""
    if not told.get("count"):
        raise ValueError("ghz made no call")
    latencies = {one["percentage"]: one["latency"] / 1e6 for one in told["latencyDistribution"] or ()}
    return Report(
        client="ghz",
        calls=told["count"],
        seconds=told["total"] / 1e9,
        average_ms=told["average"] / 1e6,
        p50_ms=latencies.get(50, 0.0),
        p95_ms=latencies.get(95, 0.0),
        p99_ms=latencies.get(99, 0.0),
        codes=Counter(told["statusCodeDistribution"]),
    )


def table(load: Load, measured: Sequence[Measured]) -> Table:
    """A column for each client."""
    title = f"{load.name}: {load.calls:,} calls, {load.calls_per_s:,} a second, over {load.connections:,} connections"
    if load.is_stream:
        title += f"\neach a hello and {load.messages_per_call} messages, {load.interval_s * 1e3:g} ms apart"
    made = Table("", *(one.report.client for one in measured), title=title)
    columns = [_column(load, one) for one in measured]
    for name in columns[0]:
        made.add_row(name, *(column[name] for column in columns))
    return made


def _column(load: Load, measured: Measured) -> Mapping[str, str]:
    report, messages = measured.report, load.calls * load.messages_per_call
    return {
        "calls": f"{report.calls:,}",
        "calls/s": f"{report.calls_per_s:,.1f}",
        "messages/s": f"{report.calls_per_s * load.messages_per_call:,.1f}",
        "average of a call, ms": f"{report.average_ms:,.1f}",
        "p50, p95, p99, ms": f"{report.p50_ms:,.1f}  {report.p95_ms:,.1f}  {report.p99_ms:,.1f}",
        "ended with": ", ".join(f"{code} {count:,}" for code, count in report.codes.items()),
        "messages that came": f"{measured.came:,} of {expected_to_come(load):,}",
        "server CPU a message, µs": f"{measured.server_cpu_us / max(messages, 1):,.0f}",
    }
