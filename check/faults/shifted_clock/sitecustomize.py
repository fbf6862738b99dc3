"""Puts the wall clock of a Python process wrong by what a file says, from one moment to the next.

Python imports a module of this name when it starts, wherever it finds it first: `clock.variables` puts this folder there. So
the cell's own code, and that of its workers, is run as it is. Clocks that only go forward are left alone, as by a real jump.
"""

import mmap
import os
import struct
import time


def _shift() -> None:
    path = os.environ.get("CHECK_CLOCK_FILE")
    if not path:
        return
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real_ns = time.time_ns

    def time_ns() -> int:
        return real_ns() + int(struct.unpack_from("<q", offset)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


_shift()
