"""Clocks of processes that can be put wrong while they run."""

import struct
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).with_name("shifted_clock")


class Clock:
    """The wall clock of the processes that were started with its variables: the machine's, and as much off as was set."""

    def __init__(self, path: Path) -> None:
        """At first it is right."""
        self._path = path
        path.write_bytes(bytes(8))

    @property
    def variables(self) -> Mapping[str, str]:
        """For the environment of the processes."""
        return {"CHECK_CLOCK_FILE": str(self._path), "PYTHONPATH": str(_FOLDER)}

    def set(self, off_s: float) -> None:
        """Put it so many seconds ahead of the machine's, or behind it."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("<q", round(off_s * 1e9)))
