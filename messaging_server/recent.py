"""What a server remembers of users for a short while, in bounded space: their latest command ids and their rate."""

from messaging_core.limits import DEDUP_WINDOW_S


class RecentCommands:
    """Payload digests of commands handed to the log, to refuse an id that is used again for something else (R3).

    Only a help: what is forgotten here is found by the readers of the log.
    """

    __slots__ = ("_bound", "_digests")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._digests: dict[tuple[str, str], tuple[int, float]] = {}

    def conflicts(self, user_id: str, command_id: str, digest: int, now_s: float) -> bool:
        """Whether this id stands for another payload; if not, remember it for W from now."""
        key = (user_id, command_id)
        known = self._digests.pop(key, None)
        if known is not None and known[0] != digest and now_s - known[1] <= DEDUP_WINDOW_S:
            self._digests[key] = known
            return True
        self._digests[key] = (digest, now_s)
        self._trim(now_s)
        return False

    def forget(self, user_id: str, command_id: str) -> None:
        """The command certainly did not happen: its id is free."""
        self._digests.pop((user_id, command_id), None)

    def __len__(self) -> int:
        return len(self._digests)

    def _trim(self, now_s: float) -> None:
        oldest = next(iter(self._digests))
        if len(self._digests) > self._bound or now_s - self._digests[oldest][1] > DEDUP_WINDOW_S:
            del self._digests[oldest]


class Rates:
    """One token bucket per user: `rate` commands a second lasting, and a burst of as much again."""

    __slots__ = ("_bound", "_buckets", "_rate")

    def __init__(self, rate: int, bound: int) -> None:
        self._rate = float(rate)
        self._bound = bound
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, user_id: str, now_s: float) -> float:
        """Take one; 0, or if there is none the seconds until there is."""
        tokens, since_s = self._buckets.pop(user_id, (self._rate, now_s))
        tokens = min(self._rate, tokens + (now_s - since_s) * self._rate)
        wait_s = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate
        self._buckets[user_id] = (tokens if wait_s else tokens - 1.0, now_s)
        if len(self._buckets) > self._bound:
            del self._buckets[next(iter(self._buckets))]
        return wait_s

    def __len__(self) -> int:
        return len(self._buckets)
