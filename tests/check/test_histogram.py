import random

from check.histogram import Histogram


def test_every_value_is_known_to_a_256th_and_the_largest_exactly() -> None:
    """A value alone comes back as itself, up to 511, and above rounded up by less than a 256th; never above the largest."""
    for value in [*range(2_000), *(2**power + by for power in range(11, 50) for by in (-1, 0, 1))]:
        one = Histogram()
        one.add(value)
        one.add(value * 2)  # or else the largest would say it
        found = one.percentile(50)
        assert value <= found <= (value if value < 512 else value * (1 + 1 / 256)), value
        assert one.percentile(100) == one.largest == value * 2


def test_percentiles_are_those_of_the_sorted_values() -> None:
    """Of many values each percentile is the value at its rank, to a 256th."""
    chance = random.Random(1)
    values = sorted(int(chance.lognormvariate(8, 2)) for _ in range(5_000))
    all_of_them = Histogram()
    for value in values:
        all_of_them.add(value)
    assert len(all_of_them) == len(values)
    for percent in (0.02, 1, 25, 50, 90, 99, 99.9, 100):
        exact = values[max(0, -(-len(values) * int(percent * 100) // 10_000) - 1)]
        assert exact <= all_of_them.percentile(percent) <= exact * (1 + 1 / 256), percent


def test_histograms_of_parts_make_the_one_of_all() -> None:
    """What several processes have counted is added up without loss, and what was told of one makes it again."""
    parts, whole = [Histogram(), Histogram()], Histogram()
    for value in range(0, 100_000, 7):
        parts[value % 2].add(value)
        whole.add(value)
    merged = Histogram()
    for part in parts:
        merged.merge(Histogram(part.counts, part.largest))
    assert (merged.counts, merged.largest) == (whole.counts, whole.largest)


def test_of_nothing_all_percentiles_are_zero() -> None:
    """An empty histogram can be shown, and a negative value, of clocks that differ, counts as zero."""
    empty = Histogram()
    assert set(empty.summary_ms().values()) == {0.0}
    empty.add(-5)
    assert (len(empty), empty.percentile(100)) == (1, 0)
