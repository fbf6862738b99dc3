"""The client's clock: never goes back, whatever becomes of the time of day, and goes on while the machine sleeps.

The last is what `time.monotonic` does not do on Linux and macOS. The windows of rule R3 are about the cell, whose time goes
on: a laptop that was closed for an hour must not take a command for one that was tried a moment ago.
"""

import sys
import time
from collections.abc import Callable


def _clock() -> Callable[[], float]:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return lambda: time.clock_gettime(time.CLOCK_MONOTONIC)  # unlike time.monotonic, it goes on in sleep
    return time.monotonic


now_s = _clock()
"""Seconds since some time; only differences count."""
