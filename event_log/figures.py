"""What a log counts, whatever its engine."""

from collections import Counter
from collections.abc import Iterator

from event_log.port import Fate
from telemetry import catalogue
from telemetry.metrics import SIZES, Figure, Histogram, seconds


class AppendFigures:
    """Of appends, since the log was opened."""

    __slots__ = ("durations", "failures", "records", "size_bytes")

    def __init__(self) -> None:
        self.durations = seconds()
        self.records = Histogram(SIZES)
        self.size_bytes = 0
        self.failures: Counter[Fate] = Counter()

    def appended(self, records: int, size_bytes: int, took_s: float) -> None:
        """So many records became durable together."""
        self.durations.add(took_s)
        self.records.add(records)
        self.size_bytes += size_bytes

    def failed(self, records: int, fate: Fate) -> None:
        """So many did not, or that is not known."""
        self.failures[fate] += records

    def figures(self, pending_bytes: int) -> Iterator[Figure]:
        """What the log tells, with what is under way now."""
        yield Figure(catalogue.APPENDS, self.durations)
        yield Figure(catalogue.BATCHES, self.records)
        yield Figure(catalogue.APPENDED, self.size_bytes)
        yield Figure(catalogue.PENDING, pending_bytes)
        for fate, count in self.failures.items():
            yield Figure(catalogue.NOT_APPENDED, count, (fate.name.lower(),))
