"""What happened over the time of a run, second by second, as charts."""

import itertools
from collections.abc import Sequence

from check.charts import Chart
from check.connections.result import Moment, Run


def of_run(run: Run) -> Sequence[Chart]:
    """Streams, messages a second, latency, cores and memory by role."""
    moments = run.moments
    doing = _doing(moments)

    def chart(title: str, up: str, series: dict[str, list[float]], is_log: bool = False) -> Chart:
        at_s = [moment.at_s for moment in moments]
        return Chart(title, at_s, "seconds", up, series, is_log, doing)

    rates = {"sent": _of(moments, "sent_per_s"), "delivered": _of(moments, "delivered_per_s")}
    latency = {"p50": _of(moments, "p50_ms"), "p99": _of(moments, "p99_ms")}
    return (
        chart("Streams", "live streams", {"live": _of(moments, "connected")}),
        chart("Messages", "messages/s", rates),
        chart("Latency end to end, from when a message was due", "ms", latency, is_log=True),
        chart("CPU, by role", "cores", _by_role(moments, "cores")),
        chart("Memory, by role", "MiB", _by_role(moments, "rss_mib") | {"kernel": _kernel_mib(moments)}),
    )


def _doing(moments: Sequence[Moment]) -> Sequence[tuple[float, float, str]]:
    """Between which seconds the clients did what."""
    found = []
    start_s = 0.0
    for doing, some in itertools.groupby(moments, key=lambda moment: moment.doing):
        until_s = [moment.at_s for moment in some][-1]
        found.append((start_s, until_s, doing))
        start_s = until_s
    return found


def _of(moments: Sequence[Moment], name: str) -> list[float]:
    return [float(getattr(moment, name)) for moment in moments]


def _by_role(moments: Sequence[Moment], name: str) -> dict[str, list[float]]:
    roles = list(getattr(moments[0], name)) if moments else []
    return {role: [float(getattr(moment, name)[role]) for moment in moments] for role in roles}


def _kernel_mib(moments: Sequence[Moment]) -> list[float]:
    """What it has more than before there were streams."""
    return [float(max(0, moment.kernel_mib - moments[0].kernel_mib)) for moment in moments]
