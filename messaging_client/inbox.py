"""The events that wait for the application, and how far it has taken them. Bounded in bytes; never awaits."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.events import Event, Snapshot

_EVENT_BYTES = 1_024
"""Counted for each event beside its encoding: what the Python objects take."""
_REMEMBERED = 8_192
"""Events remembered to drop repeats: about 2 MB."""


@dataclass(slots=True)
class Waiting:
    """One event in the queue, or a mere position."""

    event: Event | None
    """None: nothing to hand over, but the cursor moves."""
    cursor: str | None
    """Where the application stands once it has taken this; None = where it stood."""
    size: int
    stream: int = 0
    """Number of the stream that brought it."""


class Inbox:
    """A queue in the order of the stream. An event is *taken* when the application comes back for the next one."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._queue: deque[Waiting] = deque()
        self._handed: Waiting | None = None
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the stream need not be read for events now."""
        return self._bytes >= self._max_bytes

    @property
    def is_overfull(self) -> bool:
        """Whether nothing more may be put: twice as much as the bound is there, because outcomes had to be read."""
        return self._bytes >= 2 * self._max_bytes

    @property
    def has_room(self) -> bool:
        """Whether it is worth while to ask for what had to be left out."""
        return 2 * self._bytes <= self._max_bytes

    def __bool__(self) -> bool:
        """Whether there is something to hand over, once what was handed over is taken."""
        return bool(self._queue)

    @property
    def has_events(self) -> bool:
        """Whether there is more than positions behind what was handed over."""
        return any(waiting.event is not None for waiting in self._queue)

    def put(self, event: Event, cursor: str | None, size: int = 0, *, stream: int = 0) -> None:
        """Add at the end. How things stand takes the place of how they stood where nothing has come between."""
        if isinstance(event, Snapshot):
            self._forget(type(event))
        waiting = Waiting(event, cursor, size + _EVENT_BYTES, stream)
        self._bytes += waiting.size
        self._queue.append(waiting)

    def is_repeat(self, event: messaging.Event) -> bool:
        """Whether this very thing was put before; from now on it was."""
        identity = _identity(event)
        if identity in self._seen:
            return True
        self._seen[identity] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def pass_to(self, cursor: str) -> list[Waiting]:
        """There is nothing to hand over up to here. What may be kept at once is returned."""
        if self._queue and self._queue[-1].event is None:
            self._queue[-1].cursor = cursor
        else:
            self._queue.append(Waiting(None, cursor, 0))
        return self._passed() if self._handed is None else []

    def hand_over(self) -> Waiting | None:
        """The next event for the application, if there is one. `take` what was handed over before."""
        if self._handed is not None or not self._queue:
            return None
        self._handed = self._queue.popleft()
        assert self._handed.event is not None  # mere positions never stand first
        return self._handed

    def take(self) -> list[Waiting]:
        """The application is done with what was handed over. Returns that, and the positions right behind it."""
        handed, self._handed = self._handed, None
        if handed is None:
            return []
        self._bytes -= handed.size
        return [handed, *self._passed()]

    def _forget(self, kind: type[Snapshot]) -> None:
        """Drop a snapshot of this kind that is the last event, and the position behind it."""
        queue = self._queue
        last = len(queue) - 1
        while last >= 0 and queue[last].event is None:
            last -= 1
        if last >= 0 and type(queue[last].event) is kind:
            while len(queue) > last:
                self._bytes -= queue.pop().size

    def _passed(self) -> list[Waiting]:
        passed = []
        while self._queue and self._queue[0].event is None:
            passed.append(self._queue.popleft())
        return passed


def _identity(event: messaging.Event) -> Hashable:
    """What makes an event the same one again, whatever its cursor."""
    kind = event.WhichOneof("event")
    if kind == "message":
        return event.message.ref.sender_id, event.message.ref.message_id
    return kind, getattr(event, kind).SerializeToString(deterministic=True) if kind else event.cursor
