"""Histograms of latencies that keep every value to a 256th, whatever its size, as HdrHistogram does.

The package of that name is not used: it would be a dependency of its own for the few lines below, and a value costs it more.
"""

from collections import Counter
from collections.abc import Mapping

_BITS = 8
"""Of precision: up to 2**9 values have a bucket of their own, above it a bucket is as wide as a 256th of its values."""
_EXACT = 1 << (_BITS + 1)


class Histogram:
    """Counts of whole numbers from 0, microseconds here. A value is known to a 256th of it, the largest exactly."""

    __slots__ = ("counts", "largest")

    def __init__(self, counts: Mapping[int, int] | None = None, largest: int = 0) -> None:
        """With what `counts` and `largest` of another one were."""
        self.counts = Counter(counts or {})
        """Values counted, by bucket."""
        self.largest = largest

    def add(self, value: int) -> None:
        """Count one value; a negative one as 0."""
        if value < _EXACT:
            self.counts[max(value, 0)] += 1
        else:
            shift = value.bit_length() - _BITS - 1
            self.counts[(shift << _BITS) + (value >> shift)] += 1
        if value > self.largest:
            self.largest = value

    def merge(self, other: "Histogram") -> None:
        """Count all that the other one has counted."""
        self.counts.update(other.counts)
        self.largest = max(self.largest, other.largest)

    def __len__(self) -> int:
        return self.counts.total()

    def percentile(self, percent: float) -> int:
        """The least value that at least so many percent of all are not above, rounded up by less than a 256th; 0 of none."""
        wanted = len(self) * percent / 100
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return min(_highest(bucket), self.largest)
        return self.largest

    def as_json(self) -> dict[str, object]:
        """All of it, by bucket."""
        return {"buckets": dict(sorted(self.counts.items())), "largest": self.largest}

    def summary_ms(self) -> dict[str, float]:
        """The percentiles that reports show, of microseconds in milliseconds."""
        names = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
        found = {name: self.percentile(percent) / 1e3 for name, percent in names.items()}
        return found | {"max": self.largest / 1e3}


def _highest(bucket: int) -> int:
    """The largest value that is counted in this bucket."""
    if bucket < _EXACT:
        return bucket
    shift = (bucket >> _BITS) - 1
    return ((bucket - (shift << _BITS) + 1) << shift) - 1
