"""The metrics port: parts of the cell count in plain integers, and tell the counts when they are asked.

Counting is an addition where something happens, most of it once a batch, whether anybody asks or not. Whoever exports asks
every so often, on the event loop where the counts live, and takes what it gets elsewhere. What there is, is in `catalogue`.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import NamedTuple

_log = logging.getLogger(__name__)


class Kind(Enum):
    """How a metric behaves."""

    COUNTER = "counter"
    """Only rises, from the start of the process."""
    LEVEL = "up-down counter"
    """How many, or how much, now: adds up over processes."""
    GAUGE = "gauge"
    """How it is now: does not add up."""
    HISTOGRAM = "histogram"
    """How values spread, from the start of the process."""


class Metric(NamedTuple):
    """One row of the catalogue, by OpenTelemetry's conventions for names and units (UCUM)."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    """Names of the attributes that tell its series apart."""


class Histogram:
    """Counts of values up to each of some bounds, and beyond the last."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Of all values."""

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def copy(self) -> "Histogram":
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.counts, copied.total = list(self.counts), self.total
        return copied


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds for times of what people wait for."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096)
"""Bounds for numbers of things done at once."""


def seconds() -> Histogram:
    """An empty one for times."""
    return Histogram(SECONDS)


class Figure(NamedTuple):
    """What one series of a metric says now."""

    metric: Metric
    value: float | Histogram
    labels: tuple[str, ...] = ()
    """Values, in the order of `metric.labels`."""


class Calls:
    """Unary calls: how long they took, by method and status."""

    __slots__ = ("_metric", "_taken")

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._taken: dict[tuple[str, str], Histogram] = {}

    def add(self, method: str, status: str, took_s: float) -> None:
        """Count one."""
        found = self._taken.get((method, status))
        if found is None:
            found = self._taken[method, status] = seconds()
        found.add(took_s)

    def __iter__(self) -> Iterator[Figure]:
        for labels, taken in self._taken.items():
            yield Figure(self._metric, taken, labels)


Source = Callable[[], Iterable[Figure]]
"""Tells figures; called on the event loop, and quick."""


class Figures:
    """Everything that a process tells of itself."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Ask this source, too."""
        self._sources.append(source)

    def now(self) -> list[Figure]:
        """All figures as they are now; nothing in them changes from then on. Call it on the event loop.

        Those of a source that fails are left out and its error is logged: the others are needed then more than ever.
        """
        return [figure for source in self._sources for figure in _told_by(source)]


def _told_by(source: Source) -> list[Figure]:
    try:
        return [
            figure._replace(value=figure.value.copy()) if isinstance(figure.value, Histogram) else figure
            for figure in source()
        ]
    except Exception:
        _log.exception("figures of a part cannot be told")
        return []
