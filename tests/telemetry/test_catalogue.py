"""The catalogue, what a running cell tells, and what is said of it are the same."""

import asyncio
import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from messaging_cell.setting_kinds import Address
from messaging_client import NotDone
from telemetry.catalogue import METRICS
from telemetry.metrics import Kind, Metric
from telemetry.prometheus import prometheus_name
from tests.telemetry.collector import collector
from tests.telemetry.test_traces import ANN, BOB, client, next_message, running

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
OURS = re.compile(r"cell\.[a-z_]+(\.[a-z_]+)*")
CONVENTIONAL = {
    "process.cpu.time",
    "process.memory.usage",
    "process.unix.file_descriptor.count",
    "process.uptime",
    "rpc.server.call.duration",
}
"""Of OpenTelemetry's semantic conventions."""
RARE = {
    "cell.streams.ended",
    "cell.streams.refused",
    "cell.records.dropped",
    "cell.log.append.failures",
    "rpc.server.call.duration",
}
"""Told once there is something to tell."""


def row(metric: Metric) -> str:
    labels = ", ".join(f"`{name}`" for name in metric.labels)
    kind = f"{metric.kind.value}, {metric.unit}"
    return f"| `{metric.name}` | `{prometheus_name(metric)}` | {kind} | {metric.help} | {labels} |"


def test_the_documentation_has_every_metric_and_no_other() -> None:
    """docs/operations.md says of each metric what the catalogue says, in its order."""
    said = [
        line
        for line in OPERATIONS.read_text("utf-8").splitlines()
        if re.match(r"\| `\w+\.[\w.]+` \| `", line)
    ]
    assert said == [row(metric) for metric in METRICS]


def test_names_and_units_are_those_of_opentelemetry() -> None:
    """Ours have their own namespace, others are of the conventions; every name is there once, in Prometheus too."""
    assert {metric.name for metric in METRICS if not OURS.fullmatch(metric.name)} == CONVENTIONAL
    assert (
        len({prometheus_name(metric) for metric in METRICS}) == len({m.name for m in METRICS}) == len(METRICS)
    )
    for metric in METRICS:
        assert re.fullmatch(r"s|By|\{[a-z_]+\}", metric.unit)
        assert metric.help.endswith(".")
        assert metric.name.endswith(".duration") <= (metric.unit == "s")


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (Metric("a.b_c", Kind.COUNTER, "{thing}", ""), "a_b_c_total"),
        (Metric("a.time", Kind.COUNTER, "s", ""), "a_time_seconds_total"),
        (Metric("a.size", Kind.LEVEL, "By", ""), "a_size_bytes"),
        (Metric("a.duration", Kind.HISTOGRAM, "s", ""), "a_duration_seconds"),
    ],
)
def test_names_in_prometheus(metric: Metric, name: str) -> None:
    """Dots are underscores, units are spelled out behind, and counters are totals."""
    assert prometheus_name(metric) == name


async def test_a_running_cell_tells_them(tmp_path: Path) -> None:
    """What Prometheus fetches and what a collector is sent is what the catalogue says, and counts what happened."""
    async with (
        collector() as kept,
        running(
            tmp_path, kept.endpoint, metrics_interval_s=0.05, metrics_listen=Address("127.0.0.1", 0)
        ) as cell,
        client(cell, ANN) as ann,
        client(cell, BOB) as bob,
    ):
        await asyncio.gather(ann.online(), bob.online())
        await ann.send("hello", to=BOB)
        await next_message(bob)
        with pytest.raises(NotDone):
            await ann.send("", to=BOB)
        fetched = await asyncio.to_thread(fetch, cell.metrics_address)
        async with asyncio.timeout(30):
            while not _count(kept.metrics, "cell.history.stored"):
                await asyncio.sleep(0.02)
    names = {metric.name for metric in METRICS}
    assert names - RARE <= kept.metrics.keys() <= names
    by_name = {prometheus_name(metric): metric for metric in METRICS}
    assert (
        {prometheus_name(m) for m in METRICS if m.name not in RARE}
        <= fetched.keys()
        <= by_name.keys() | {"target_info"}
    )
    for name, series in fetched.items():
        for labels in series:
            told = {label for label, _ in labels} - {"le"}
            assert name == "target_info" or told == {each.replace(".", "_") for each in by_name[name].labels}
    assert value(fetched, "cell_streams") == 2
    assert value(fetched, "cell_commands_total", cell_kind="message", cell_outcome="accepted") == 1
    assert value(fetched, "cell_commands_total", cell_kind="message", cell_reason="INVALID_FIELD") == 1
    assert value(fetched, "cell_accept_duration_seconds", cell_kind="message", le="+Inf") == 1
    assert value(fetched, "cell_delivery_duration_seconds", le="+Inf") == 1
    assert value(fetched, "cell_resumes_total", cell_outcome="resumed") == 2
    assert value(fetched, "process_memory_usage_bytes") > 1e7


Fetched = dict[str, dict[frozenset[tuple[str, str]], float]]


def fetch(address: object) -> Fetched:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: Fetched = {}
    for family in families:
        for sample in family.samples:
            if not sample.name.endswith(("_sum", "_count")) or family.type != "histogram":
                series = found.setdefault(sample.name.removesuffix("_bucket"), {})
                series[frozenset(sample.labels.items())] = sample.value
    return found


def value(fetched: Fetched, name: str, **labels: str) -> float:
    (found,) = (v for told, v in fetched[name].items() if labels.items() <= dict(told).items())
    return found


def _count(metrics: object, name: str) -> int:
    metric = metrics.get(name)  # type: ignore[attr-defined]
    return metric.sum.data_points[0].as_int if metric is not None else 0
