"""A hybrid logical clock: event times that are never behind what anyone here has seen (I12)."""

import time
from collections.abc import Callable
from functools import partial

MAX_SKEW_US = 60_000_000
"""How far above this machine's clock an observed time is honoured. A cell's machines must agree better than this."""


def wall_us() -> int:
    """Microseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000


passing_s: Callable[[], float] = time.monotonic
"""Seconds of a clock that nobody sets; where it can be had, of one that goes on while the machine sleeps."""
_passing_ns: Callable[[], int] = time.monotonic_ns
if hasattr(time, "CLOCK_BOOTTIME"):
    passing_s = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    _passing_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)

_BEGAN_NS = time.time_ns() - _passing_ns()


def steady_us() -> int:
    """As `wall_us` was when this process began, and on from there as time passes.

    Whoever sets the machine's clock meanwhile does not move it, so that times of one process tell how long was between (R3).
    """
    return (_BEGAN_NS + _passing_ns()) // 1_000


class HybridClock:
    """Gives times in microseconds, each above all given and all observed before.

    One a process: a time stamped here is then above every event time that any of its streams was shown. That is more than
    I12 asks, which is per user, and needs no state per user.
    """

    __slots__ = ("_last_us", "_wall_us")

    def __init__(self, wall: Callable[[], int] = wall_us) -> None:
        self._wall_us = wall
        self._last_us = 0

    def observe(self, time_us: int) -> None:
        """Be above `time_us` from now on, unless it is more than MAX_SKEW_US ahead of the wall clock."""
        if time_us > self._last_us and time_us <= self._wall_us() + MAX_SKEW_US:
            self._last_us = time_us

    def is_honoured(self, time_us: int) -> bool:
        """Whether `observe` would take this time, or has it behind it already."""
        return time_us <= self._last_us or time_us <= self._wall_us() + MAX_SKEW_US

    def stamp(self) -> int:
        """A new time, above every earlier stamp and observation."""
        now_us = self._wall_us()
        self._last_us = now_us if now_us > self._last_us else self._last_us + 1
        return self._last_us
