"""Which messages are traced: those whose sender says so, and a share of those that say nothing; all within a rate."""

import random
import time
from collections.abc import Callable

from telemetry import trace_context


class Sampler:
    """Parent-based: a valid trace context decides, for or against; where there is none, chance does.

    Contexts are a client's to write, so however many ask for it, no more than `per_second` are traced, after a burst of as
    many.
    """

    __slots__ = ("_left", "_now_s", "_per_second", "_ratio", "_seen_s", "refused")

    def __init__(self, ratio: float, per_second: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._ratio = ratio
        self._per_second = per_second
        self._now_s = now_s
        self._seen_s = now_s()
        self._left = float(per_second)
        self.refused = 0
        """How many would have been traced but for the rate."""

    def samples(self, traceparent: str) -> bool:
        """Whether to trace what came with this."""
        context = trace_context.parse(traceparent) if traceparent else None
        wanted = context.sampled if context is not None else random.random() < self._ratio
        return wanted and self._has_room()

    def _has_room(self) -> bool:
        now_s = self._now_s()
        self._left = min(self._left + (now_s - self._seen_s) * self._per_second, float(self._per_second))
        self._seen_s = now_s
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True
