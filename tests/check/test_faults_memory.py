"""Whether memory grows, read from a run's ledger."""

import pytest

from check.faults.ledger import Line
from check.faults.memory import growth


def samples(name: str, pid: int, sizes_kb: list[int]) -> list[Line]:
    return [
        Line("faults.jsonl", number, 10.0 * number, "memory", {"name": name, "pid": pid, "rss_kb": size})
        for number, size in enumerate(sizes_kb, 1)
    ]


def test_growth_is_that_of_the_later_part_of_a_life() -> None:
    """A process that takes its memory in the beginning does not grow; one that goes on taking does."""
    steady = samples("cell", 1, [10_000] * 50 + [50_000] * 150)
    growing = samples("other", 2, [100_000 + 100 * n for n in range(200)])
    found = {one.name: one for one in growth([*steady, *growing])}
    assert found["cell"].percent_an_hour == 0
    assert found["cell"].rss_kb == 50_000
    assert found["other"].percent_an_hour == pytest.approx(32.0, abs=1)
    assert found["other"].lasted_s == 1_990


def test_a_short_life_says_nothing() -> None:
    """Nor does another process that was given the same name count as the same."""
    assert growth([*samples("cell", 1, [1] * 100), *samples("cell", 2, [2] * 100)]) == []
