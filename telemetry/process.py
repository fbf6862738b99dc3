"""What a process tells of itself: CPU, memory, files, and how late its event loop is."""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from telemetry import catalogue
from telemetry.metrics import Figure, seconds

_FILES = Path("/proc/self/fd")
_TICK_S = 0.25


class ProcessFigures:
    """Of this process."""

    def __init__(self) -> None:
        self._lag = seconds()
        self._started_s = time.monotonic()

    def __call__(self) -> Iterator[Figure]:
        """As they are now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield Figure(catalogue.CPU, used.ru_utime, ("user",))
        yield Figure(catalogue.CPU, used.ru_stime, ("system",))
        yield Figure(catalogue.MEMORY, _resident_bytes(used))
        yield Figure(catalogue.UPTIME, time.monotonic() - self._started_s)
        yield Figure(catalogue.LOOP_LAG, self._lag)
        with suppress(OSError):  # where there is no such folder, or no file is left to read it by
            yield Figure(catalogue.FILES, _open_files())

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._lag.add(max(0.0, clock() - due))


def _resident_bytes(used: resource.struct_rusage) -> int:
    """On Linux what is resident now; elsewhere the most that ever was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return used.ru_maxrss * (1 if sys.platform == "darwin" else 1_024)


def _open_files() -> int:
    """Newer kernels tell the number as the folder's size; a list of 64k names would hold up the loop. Raises OSError."""
    return _FILES.stat().st_size or len(os.listdir(_FILES))
