"""One coarse timer for all streams of a server."""

from math import inf
from typing import Generic, TypeVar

Entry = TypeVar("Entry")

TICK_S = 0.25


class CoarseTimer(Generic[Entry]):
    """Entries in buckets of one tick: adding costs one list append, however many there are.

    Nothing is ever cancelled: who takes an entry out asks it whether it is still due.
    """

    __slots__ = ("_buckets", "_next_tick")

    def __init__(self, now_s: float) -> None:
        self._buckets: dict[int, list[Entry]] = {}
        self._next_tick = int(now_s / TICK_S)

    def add(self, at_s: float, entry: Entry) -> None:
        """Have it come out no earlier than `at_s`, and a tick later at most; never, if that is infinite."""
        if at_s == inf:  # closed since it asked
            return
        tick = max(int(at_s / TICK_S) + 1, self._next_tick)
        self._buckets.setdefault(tick, []).append(entry)

    def take_due(self, now_s: float) -> list[Entry]:
        """Everything that is due."""
        due: list[Entry] = []
        last = int(now_s / TICK_S)
        if last - self._next_tick > len(self._buckets):  # after a long pause, go by what there is
            for tick in sorted(tick for tick in self._buckets if tick <= last):
                due += self._buckets.pop(tick)
        else:
            for tick in range(self._next_tick, last + 1):
                due += self._buckets.pop(tick, ())
        self._next_tick = max(self._next_tick, last + 1)
        return due
