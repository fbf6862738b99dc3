"""How long to wait before trying again."""

import random


class Backoff:
    """Exponential with full jitter: anything from nothing to a bound that doubles, so that no crowd comes at once."""

    __slots__ = ("_cap_s", "_first_s", "_rng", "failures")

    def __init__(self, first_s: float, cap_s: float, rng: random.Random) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._rng = rng
        self.failures = 0
        """Since the last success."""

    def failed(self) -> float:
        """Count a failure, and say how many seconds to wait."""
        bound_s = min(self._cap_s, self._first_s * 2 ** min(self.failures, 30))
        self.failures += 1
        return self._rng.uniform(0.0, bound_s)

    def succeeded(self) -> None:
        """Start anew."""
        self.failures = 0
