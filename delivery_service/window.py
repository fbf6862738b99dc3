"""The recent window of a partition (R8): what was missed a moment ago, without asking history."""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from enum import Enum
from operator import attrgetter

from messaging_core.events import PositionedEvent

_EVENT_BYTES = 400
"""What an event costs beside its bytes: the tuple, its numbers, the objects' own headers."""
_USER_BYTES = 300
"""What a user with events here costs: its key, its list, its place in the index."""
_REF_BYTES = 24
"""What one more event of a user costs."""

_LEAVES_AT_ONCE = 32
"""The share of the window that leaves memory when it is full: a 32nd."""

_offset = attrgetter("offset")


class Missing(Enum):
    """Why the window cannot answer."""

    BEHIND = "behind"
    """History has it: page there (R8)."""
    REREAD = "reread"
    """Memory was short before history had it: the log still has it."""


class Told(Enum):
    """What became of a record that the window no longer holds."""

    EFFECTIVE = "effective"
    INEFFECTIVE = "ineffective"
    UNREADABLE = "unreadable"


class Window:
    """The events of a partition from `start` on, indexed by user, within a bound in bytes.

    Past the bound the oldest events leave memory. Those that history has persisted are history's from then on; of the
    others the window remembers which records stood for nothing, so that the rest can be read from the log again, without
    asking the reader's rules a second time. So a stalled history costs reads, never memory, and never stops delivery.
    """

    __slots__ = (
        "_bytes",
        "_events",
        "_everyone",
        "_ineffective",
        "_max_bytes",
        "_of_user",
        "_unreadable",
        "persisted",
        "start",
    )

    def __init__(self, start: int, max_bytes: int) -> None:
        self.start = start
        """First offset whose events are all in memory."""
        self.persisted = start
        """First offset that history may not have."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[tuple[PositionedEvent, Sequence[str] | None]] = deque()
        self._of_user: dict[str, list[PositionedEvent]] = {}
        self._everyone: list[PositionedEvent] = []
        self._ineffective: array[int] = array("q")
        self._unreadable: array[int] = array("q")

    @property
    def floor(self) -> int:
        """First offset that the window or the log answers for; what is older is history's, and history has it."""
        return min(self.start, self.persisted)

    @property
    def size_bytes(self) -> int:
        """An estimate of the memory taken."""
        return self._bytes

    def add(self, event: PositionedEvent, users: Sequence[str] | None) -> None:
        """Add the next event, for these users of the partition, or for everyone in it (an unreadable record)."""
        self._events.append((event, users))
        self._bytes += _EVENT_BYTES + len(event.piece) + len(event.direct_ref)
        if users is None:
            self._everyone.append(event)
            self._unreadable.append(event.offset)
        else:
            self._index(event, users)
        if self._bytes > self._max_bytes:
            self._evict()

    def skip(self, offset: int) -> None:
        """The next record stands for nothing (R1, R3)."""
        self._ineffective.append(offset)

    def since(self, user: str, after: int) -> Sequence[PositionedEvent] | Missing:
        """The user's events above the offset `after`, in order."""
        if after + 1 < self.start:
            return Missing.BEHIND if after + 1 < self.floor else Missing.REREAD
        events = self._of_user.get(user, [])
        missed = events[bisect_right(events, after, key=_offset) :]
        if self._everyone and self._everyone[-1].offset > after:
            missed += self._everyone[bisect_right(self._everyone, after, key=_offset) :]
            missed.sort(key=_offset)
        return missed

    def told(self, offset: int) -> Told:
        """What a record at or above `floor` and below `start` stood for when it was first read."""
        if _has(self._ineffective, offset):
            return Told.INEFFECTIVE
        return Told.UNREADABLE if _has(self._unreadable, offset) else Told.EFFECTIVE

    def history_has(self, persisted: int) -> None:
        """History has everything below this offset; never goes back."""
        self.persisted = max(self.persisted, persisted)
        for offsets in (self._ineffective, self._unreadable):
            del offsets[: bisect_left(offsets, self.persisted)]

    def _index(self, event: PositionedEvent, users: Sequence[str]) -> None:
        of_user = self._of_user
        self._bytes += _REF_BYTES * len(users)
        for user in users:
            events = of_user.get(user)
            if events is None:
                of_user[user] = [event]
                self._bytes += _USER_BYTES
            else:
                events.append(event)

    def _evict(self) -> None:
        """Some of the oldest events leave together, so that the list of each user who had some is cut once."""
        had_some: set[str] = set()
        while self._events and self._bytes > self._max_bytes - self._max_bytes // _LEAVES_AT_ONCE:
            event, users = self._events.popleft()
            self.start = event.offset + 1
            self._bytes -= _EVENT_BYTES + len(event.piece) + len(event.direct_ref)
            if users is None:
                del self._everyone[0]
            else:
                self._bytes -= _REF_BYTES * len(users)
                had_some.update(users)
        for user in had_some:
            events = self._of_user[user]
            del events[: bisect_left(events, self.start, key=_offset)]
            if not events:
                del self._of_user[user]
                self._bytes -= _USER_BYTES


def _has(offsets: "array[int]", offset: int) -> bool:
    at = bisect_left(offsets, offset)
    return at < len(offsets) and offsets[at] == offset
