"""Charts as one SVG, drawn here, a plotting library being a large dependency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from check.connections.result import Moment, Run

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP, _RIGHT = 860, 180, 70, 30, 60, 180
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by people who do not see all colours (Okabe and Ito)."""
_TICKS = 4

Series = Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """Some lines over the same axis."""

    title: str
    at: Sequence[float]
    """Along the axis, rising from 0."""
    unit: str
    """Of the axis."""
    series: Series


def of_run(run: Run, title: str) -> str:
    """A run's seconds: streams, messages a second, latency, memory by role."""
    moments = run.moments
    at_s = [moment.at_s for moment in moments]
    rates = {"sent": _of(moments, "sent_per_s"), "delivered": _of(moments, "delivered_per_s")}
    latency = {"p50": _of(moments, "p50_ms"), "p99": _of(moments, "p99_ms")}
    charts = (
        Chart("live streams", at_s, " s", {"live": _of(moments, "connected")}),
        Chart("messages a second", at_s, " s", rates),
        Chart("end to end, ms", at_s, " s", latency),
        Chart("memory, MiB", at_s, " s", _by_role(moments)),
    )
    return svg(title, charts)


def svg(title: str, charts: Sequence[Chart]) -> str:
    """The charts, one below the other."""
    height = _TOP + len(charts) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for number, chart in enumerate(charts):
        parts += _drawn(chart, _TOP + number * (_HEIGHT + _GAP) + 16)
    return "\n".join([*parts, "</svg>\n"])


def _drawn(chart: Chart, top: int) -> list[str]:
    until = max(chart.at, default=1.0) or 1.0
    most = _round_up(max((max(values, default=0.0) for values in chart.series.values()), default=0.0))
    bottom = top + _HEIGHT
    parts = [f'<text x="{_LEFT}" y="{top - 6}">{escape(chart.title)}</text>']
    for tick in range(_TICKS + 1):
        y = bottom - _HEIGHT * tick / _TICKS
        x = _LEFT + _WIDTH * tick / _TICKS
        parts += [
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * tick / _TICKS:,g}</text>',
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{until * tick / _TICKS:,.0f}{chart.unit}</text>',
        ]
    for number, (label, values) in enumerate(chart.series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + _WIDTH * at / until:.1f},{bottom - _HEIGHT * value / most:.1f}"
            for at, value in zip(chart.at, values, strict=True)
        )
        x, y = _LEFT + _WIDTH + 10, top + 12 + 16 * number
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            f'<text x="{x}" y="{y}" fill="{colour}">{escape(label)}</text>',
        ]
    return parts


def _round_up(value: float) -> float:
    """To a number that four ticks divide well."""
    step = 0.01
    while value > 10 * step:
        step *= 10
    return next(step * factor for factor in (1, 2, 4, 6, 8, 10) if value <= step * factor)


def _of(moments: Sequence[Moment], name: str) -> list[float]:
    return [float(getattr(moment, name)) for moment in moments]


def _by_role(moments: Sequence[Moment]) -> Series:
    roles = list(moments[0].rss_mib) if moments else []
    found = {role: [float(moment.rss_mib[role]) for moment in moments] for role in roles}
    kernel_before = moments[0].kernel_mib if moments else 0
    found["kernel"] = [float(max(0, moment.kernel_mib - kernel_before)) for moment in moments]
    return found
