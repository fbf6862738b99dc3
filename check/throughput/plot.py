"""Curves of rate against latency and CPU, as charts: the two of a load beside each other."""

from collections.abc import Mapping, Sequence

from check.charts import Chart
from check.throughput.curve import P99_BOUND_MS, Curve, Point
from check.throughput.scenarios import Scenario

_PERCENTILES = (50, 95, 99)


def of_curves(curves: Mapping[Scenario, Curve]) -> Sequence[Chart]:
    """Two charts for each load."""
    return [chart for scenario, curve in curves.items() for chart in _of(scenario, curve.points, curve)]


def _of(scenario: Scenario, points: Sequence[Point], curve: Curve) -> tuple[Chart, Chart]:
    kinds = {point.step.recipients for point in points}
    at: list[float] | list[str]
    marks = {}
    if len(kinds) > 1:
        along = "messages a second asked for, and how many each goes to"
        at = [f"{point.step.total_rate:,g}/s to {point.step.recipients}" for point in points]
    else:
        along = "messages a second asked for"
        at = [point.step.total_rate for point in points]
        highest = curve.highest(*kinds)
        marks = {f"holds to {highest.step.total_rate:,g}/s": highest.step.total_rate} if highest else {}
    latency = {
        f"p{percent}": [point.sent.times["latency"].percentile(percent) / 1e3 for point in points]
        for percent in _PERCENTILES
    }
    cores = {role: [point.server_cores[role] for point in points] for role in points[0].server_cores} | {
        "clients": [point.figures()["client_cores"] for point in points]
    }
    bound = {f"bound of p99, {P99_BOUND_MS:,g} ms": P99_BOUND_MS}
    return (
        Chart(
            scenario.what,
            at,
            along,
            "latency end to end, ms",
            latency,
            True,
            levels=bound,
            marks=marks,
        ),
        Chart("CPU, by role", at, along, "cores", cores, marks=marks),
    )
