from collections import Counter
from collections.abc import Iterator

import pytest

from telemetry.metrics import Calls, Figure, Figures, Histogram, Kind, Metric

TOOK = Metric("took", Kind.HISTOGRAM, "s", "", ("method", "status"))
HELD = Metric("held", Kind.LEVEL, "{thing}", "")


def test_a_bound_is_the_highest_value_of_its_bucket() -> None:
    """Values count up to and with each bound, and beyond the last; their number and total are known."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5, 100.0):
        histogram.add(value)
    assert histogram.counts == [2, 2, 2]
    assert (histogram.count, histogram.total) == (6, 107.0)


def test_what_was_told_does_not_change() -> None:
    """Figures go to other threads: what is counted after they were taken is in the next ones."""
    figures, calls, held = Figures(), Calls(TOOK), Counter("a")
    figures.add(lambda: calls)
    figures.add(lambda: [Figure(HELD, held["a"])])
    calls.add("Get", "OK", 0.1)
    before = figures.now()
    calls.add("Get", "OK", 0.1)
    calls.add("Get", "UNAVAILABLE", 3.0)
    held["a"] += 1
    told = {
        each.labels: each.value.count if isinstance(each.value, Histogram) else each.value for each in before
    }
    assert told == {("Get", "OK"): 1, (): 1}
    assert [each.value for each in figures.now() if each.metric is HELD] == [2]
    assert len(figures.now()) == 3


def test_a_source_that_fails_takes_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Its figures are left out, its error is logged, and it is asked again the next time."""
    figures, fails = Figures(), [True]

    def sometimes() -> Iterator[Figure]:
        yield Figure(HELD, 1)
        if fails.pop():
            raise OSError("no file is left to read it by")

    figures.add(sometimes)
    figures.add(lambda: [Figure(HELD, 2)])
    assert [each.value for each in figures.now()] == [2]
    assert "no file is left to read it by" in caplog.text
    fails.append(False)
    assert [each.value for each in figures.now()] == [1, 2]
