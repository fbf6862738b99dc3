"""Rate, latency and memory over time as one SVG: four charts, drawn here, a plotting library being a large dependency."""

from collections.abc import Mapping, Sequence
from html import escape

from check.connections.result import Moment, Run

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 860, 180, 70, 30, 60
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by people who do not see all colours (Okabe and Ito)."""
_TICKS = 4

Series = Mapping[str, Sequence[float]]


def svg(run: Run, title: str) -> str:
    """The run's seconds: messages a second, latency, memory by role."""
    moments = run.moments
    at_s = [moment.at_s for moment in moments]
    charts: list[tuple[str, Series]] = [
        ("live streams", {"live": [float(moment.connected) for moment in moments]}),
        (
            "messages a second",
            {"sent": _of(moments, "sent_per_s"), "delivered": _of(moments, "delivered_per_s")},
        ),
        ("end to end, ms", {"p50": _of(moments, "p50_ms"), "p99": _of(moments, "p99_ms")}),
        ("memory, MiB", _by_role(moments)),
    ]
    height = _TOP + len(charts) * (_HEIGHT + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 180}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="14">{escape(title)}</text>',
    ]
    for at, (name, series) in enumerate(charts):
        parts += _chart(_TOP + at * (_HEIGHT + _GAP) + 16, name, at_s, series)
    return "\n".join([*parts, "</svg>\n"])


def _chart(top: int, name: str, at_s: Sequence[float], series: Series) -> list[str]:
    until_s = max(at_s, default=1.0) or 1.0
    most = _round_up(max((max(values, default=0.0) for values in series.values()), default=0.0))
    bottom = top + _HEIGHT
    parts = [f'<text x="{_LEFT}" y="{top - 6}">{escape(name)}</text>']
    for tick in range(_TICKS + 1):
        y = bottom - _HEIGHT * tick / _TICKS
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * tick / _TICKS:,g}</text>'
        )
        x = _LEFT + _WIDTH * tick / _TICKS
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{until_s * tick / _TICKS:,.0f} s</text>'
        )
    for at, (label, values) in enumerate(series.items()):
        colour = _COLOURS[at % len(_COLOURS)]
        points = " ".join(
            f"{_LEFT + _WIDTH * when / until_s:.1f},{bottom - _HEIGHT * value / most:.1f}"
            for when, value in zip(at_s, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(
            f'<text x="{_LEFT + _WIDTH + 10}" y="{top + 12 + 16 * at}" fill="{colour}">{escape(label)}</text>'
        )
    return parts


def _round_up(value: float) -> float:
    """To a number that four ticks divide well."""
    if value <= 0:
        return 1.0
    step = 10.0 ** len(str(int(value)).lstrip("0")) / 10
    for factor in (1, 2, 4, 6, 8, 10):
        if value <= step * factor:
            return step * factor
    return step * 20


def _of(moments: Sequence[Moment], name: str) -> list[float]:
    return [getattr(moment, name) for moment in moments]


def _by_role(moments: Sequence[Moment]) -> Series:
    roles = list(moments[0].rss_mib) if moments else []
    found: dict[str, list[float]] = {
        role: [float(moment.rss_mib[role]) for moment in moments] for role in roles
    }
    kernel_before = moments[0].kernel_mib if moments else 0
    found["kernel"] = [float(max(0, moment.kernel_mib - kernel_before)) for moment in moments]
    return found
