"""Places from which a partition can be read again with the time its cursors carry (R8, I12)."""

from array import array
from bisect import bisect_left, bisect_right

SPACING_BYTES = 64 * 1024
"""Of records between two anchors: what is read again in vain, at most."""


class Anchors:
    """Every so often an offset, with the newest event time before it: 16 bytes for each 64 KiB of records."""

    __slots__ = ("_newest_us", "_offsets", "_since_bytes")

    def __init__(self) -> None:
        self._offsets: array[int] = array("q")
        self._newest_us: array[int] = array("q")
        self._since_bytes = SPACING_BYTES

    def pass_by(self, offset: int, size_bytes: int, newest_us: int) -> None:
        """Take note of the next record, of this size, and the newest event time before it."""
        if self._since_bytes >= SPACING_BYTES:
            self._since_bytes = 0
            self._offsets.append(offset)
            self._newest_us.append(newest_us)
        self._since_bytes += size_bytes

    def at_or_below(self, offset: int) -> tuple[int, int]:
        """The last anchor not above an offset, and the newest event time before it; the first one if all are above."""
        at = max(bisect_right(self._offsets, offset) - 1, 0)
        return self._offsets[at], self._newest_us[at]

    def forget_below(self, offset: int) -> None:
        """Nothing below this offset will be read again."""
        unneeded = bisect_left(self._offsets, offset) - 1
        if unneeded > 0:
            del self._offsets[:unneeded]
            del self._newest_us[:unneeded]
