"""Charts of measurements as a PNG or SVG file, drawn by matplotlib, which is loaded where one is drawn."""

import argparse
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SUFFIXES = (".png", ".svg")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by people who do not see all colours (Okabe and Ito)."""
_GREY, _BAND = "#666666", "#f6f6f6"
_CHART_INCHES = {1: (10.5, 2.3), 2: (6.5, 3.2)}
"""Width and height of a chart, by how many stand beside each other."""
_TITLE_INCHES = 0.6
_DOTS_PER_INCH = 150
_TITLE_LETTERS, _HEAD_LETTERS = 70, 85
"""In a line of a chart's title, and of the title of all where one chart is as wide as they are."""
_FEW_DECADES = 30.0
"""Of a logarithmic axis, from its least to its most: below, powers of ten alone would say too little."""
_NAMED_PART = 0.07
"""Of the axis: a shorter time has no room for its name."""
_ROOM_FOR_NAMES = 1.1
"""By how much an axis is longer where names stand above the lines."""
_MOST_MARKED = 40
"""Points, beyond which a line is enough."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Some lines over the same axis."""

    title: str
    at: Sequence[float] | Sequence[str]
    """Along the axis: numbers, or names, which are drawn as points beside one another."""
    along: str
    """What the axis along says, with its unit."""
    up: str
    """What the axis upwards says, with its unit."""
    series: Mapping[str, Sequence[float]]
    """By name, each as long as `at`. What is not a number is left out."""
    is_log: bool = False
    """Whether the axis upwards is logarithmic; what is not above 0 is left out then."""
    spans: Sequence[tuple[float, float, str]] = ()
    """From, until and name of times along the axis."""
    levels: Mapping[str, float] = field(default_factory=dict)
    """Bounds upwards, by what they say."""
    marks: Mapping[str, float] = field(default_factory=dict)
    """Places along the axis, by what they say."""


def chart_file(name: str) -> Path:
    """The file of this name, for an argument parser. What could not be written after a run is refused before it."""
    path = Path(name)
    if path.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{name} ends neither with {' nor with '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{name} is in a folder that is not there")
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("charts take matplotlib, which is not installed: `make install`")
    return path


def draw(path: Path, title: str, charts: Sequence[Chart], beside: int = 1) -> None:
    """Write the charts in rows, `beside` in each, 1 or 2, as the file's suffix says."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = math.ceil(len(charts) / beside)
    width, height = _CHART_INCHES[beside]
    with rc_context(
        {"font.size": 9, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(width * beside, height * rows + _TITLE_INCHES), layout="constrained")
        figure.suptitle(textwrap.fill(title, _HEAD_LETTERS * beside), fontsize=12, fontweight="bold")
        places = figure.subplots(rows, beside, squeeze=False).flat
        for axes, chart in zip(places, charts, strict=False):
            _draw(axes, chart)
        figure.align_ylabels()
        figure.savefig(path, format=path.suffix[1:], dpi=_DOTS_PER_INCH)


def _draw(axes: "Axes", chart: Chart) -> None:
    axes.set_title(textwrap.fill(chart.title, _TITLE_LETTERS), loc="left", fontsize=10)
    axes.set_xlabel(chart.along)
    axes.set_ylabel(chart.up)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    has_names = any(isinstance(at, str) for at in chart.at)
    for number, (label, values) in enumerate(chart.series.items()):
        axes.plot(
            chart.at,
            [value if value > 0 or not chart.is_log else math.nan for value in values],
            label=label,
            color=_COLOURS[number % len(_COLOURS)],
            marker="o" if len(chart.at) <= _MOST_MARKED else "",
            markersize=4,
            linestyle="none" if has_names else "solid",
            linewidth=1.5,
        )
    _scale(axes, chart, has_names)
    _annotate(axes, chart)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, borderaxespad=0.0)


def _scale(axes: "Axes", chart: Chart, has_names: bool) -> None:
    shown: list[Axis] = [axes.yaxis] if has_names else [axes.xaxis, axes.yaxis]
    if chart.is_log and any(value > 0 for values in chart.series.values() for value in values):
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:,g}" if high < _FEW_DECADES * low else "")
        axes.grid(visible=True, which="minor", axis="y", color="#e6e6e6", linewidth=0.4)
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * (_ROOM_FOR_NAMES if chart.spans else 1.0))
    if not has_names:
        axes.set_xlim(0, 1.02 * max((float(at) for at in chart.at), default=1.0))
    for axis in shown:
        axis.set_major_formatter(lambda value, _: f"{value:,g}")


def _annotate(axes: "Axes", chart: Chart) -> None:
    """Times as bands, bounds and places as broken lines, each with its name."""
    width = axes.get_xlim()[1]
    for number, (first, until, name) in enumerate(chart.spans):
        axes.axvspan(first, until, color=_BAND if number % 2 == 0 else "white", zorder=0, linewidth=0)
        axes.annotate(
            name if until - first >= _NAMED_PART * width else "",
            (first, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -10),
            textcoords="offset points",
            color=_GREY,
            fontsize=8,
        )
    for name, value in chart.levels.items():
        axes.axhline(value, color=_GREY, linestyle="--", linewidth=1, label=name)
    for name, value in chart.marks.items():
        axes.axvline(value, color=_GREY, linestyle=":", linewidth=1.2, label=name)
