"""How often something may happen that costs by the time rather than by what it takes along: a request, a wake-up."""

AT_ONCE = 4
"""Times in a row without a rest: what one message needs on its way through a part that did nothing."""


class Pace:
    """Once an interval, counted over a while: after a rest it may be AT_ONCE times at once.

    So what comes alone is never held up, and what comes often goes together. Times are seconds of any clock that only rises.
    """

    __slots__ = ("_ahead_s", "_due_s", "_interval_s")

    def __init__(self, interval_s: float, at_once: int = AT_ONCE) -> None:
        self._interval_s = interval_s
        self._ahead_s = interval_s * (at_once - 1)
        self._due_s = float("-inf")
        """When it would be due had it always kept the interval."""

    def free_at(self) -> float:
        """From when on it may happen again; it is the caller's to keep to it."""
        return self._due_s - self._ahead_s

    def went(self, now_s: float) -> None:
        """It happens now."""
        self._due_s = max(self._due_s, now_s) + self._interval_s
