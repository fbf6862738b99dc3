"""An alarm to the microsecond: event loops round their timers to milliseconds, which would be part of every latency."""

import asyncio
import ctypes
import os
from collections.abc import Callable

_CLOCK_MONOTONIC, _NONBLOCK, _CLOEXEC, _ABSOLUTE = 1, 0o4000, 0o2000000, 1
_MAX_COUNT_BYTES = 8


class _Times(ctypes.Structure):
    """struct itimerspec (timerfd_create(2))."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


class Alarm:
    """Calls back at one time after another, of this system's monotonic clock. Linux's timerfd."""

    def __init__(self, ring: Callable[[], None]) -> None:
        """Calls `ring` in the running event loop."""
        self._ring = ring
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._rang)

    def set(self, at_us: int) -> None:
        """Ring at this time, or at once if it is over; no more at the time set before."""
        seconds, us = divmod(max(at_us, 1), 1_000_000)
        times = _Times(0, 0, seconds, us * 1_000)
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(times), None)

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _rang(self) -> None:
        try:
            os.read(self._fd, _MAX_COUNT_BYTES)
        except BlockingIOError:
            return  # it was set to another time meanwhile
        self._ring()
