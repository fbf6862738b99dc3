"""What a delivery service counts."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from event_log.reader import Verdict
from telemetry import catalogue
from telemetry.metrics import Figure, Histogram, seconds


@dataclass(slots=True)
class DeliveryFigures:
    """Since the service was made, of all partitions that it ever owned."""

    routing: Histogram = field(default_factory=seconds)
    """Seconds from an event's own time until it was routed."""
    dropped: "Counter[Verdict]" = field(default_factory=Counter)
    """Records that were not routed."""
    retries: int = 0
    """Of forwarding."""

    def __iter__(self) -> Iterator[Figure]:
        yield Figure(catalogue.ROUTING, self.routing)
        yield Figure(catalogue.FORWARDING_RETRIES, self.retries)
        for verdict, count in self.dropped.items():
            yield Figure(catalogue.DROPPED, count, (verdict.value,))
