"""The command ids used within a window of time (R3)."""

from collections import deque

_Use = tuple[int, int]  # time, digest


class RecentIds:
    """Tells of each use of an id whether it was used before within the window, and with which payload first.

    Times must not fall. Two generations of ids are kept, each as long as the window: an id that is used again moves to the
    newer one, so whatever is in the older when a third begins is out of the window. That is at most the ids of two windows,
    about 400 bytes each.
    """

    __slots__ = ("_new", "_new_since_us", "_old", "_window_us")

    def __init__(self, window_us: int) -> None:
        self._window_us = window_us
        self._new_since_us = 0
        self._new: dict[str, _Use | deque[_Use]] = {}
        self._old: dict[str, _Use | deque[_Use]] = {}

    def use(self, key: str, digest: int, now_us: int) -> int | None:
        """Digest of the oldest use of this id within the window before, or None if there was none."""
        if now_us - self._new_since_us > self._window_us:
            self._begin_generation(now_us)
        known = self._new.get(key) or self._old.get(key)
        uses = self._within(known, now_us) if known is not None else None
        if not uses:
            self._new[key] = (now_us, digest)
            return None
        first = uses[0][1]
        if uses[-1][1] == digest:  # a run of equal uses is as old as its last: that one is the last to leave
            uses[-1] = (now_us, digest)
        else:
            uses.append((now_us, digest))
        self._new[key] = uses
        return first

    def _within(self, known: _Use | deque[_Use], now_us: int) -> deque[_Use]:
        uses = known if isinstance(known, deque) else deque((known,))
        while uses and now_us - uses[0][0] > self._window_us:
            uses.popleft()
        return uses

    def _begin_generation(self, now_us: int) -> None:
        in_window = now_us - self._new_since_us <= 2 * self._window_us
        self._old = self._new if in_window else {}
        self._new = {}
        self._new_since_us = now_us
