"""One stream as the client sees it: its frame numbers, its pings, whether it lives, when it is left. Never awaits."""

from enum import Enum, auto

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.outgoing import NEVER_S, Outgoing, View
from messaging_client.receipts import Receipt
from messaging_client.settings import ClientSettings

_STALL_S = 1.0
"""Left for reading when an answer is due. A clock that is looked at later than this was held up by the program itself."""


class Slot(Enum):
    """Commands in flight that are none of the application's."""

    PING = auto()
    REFRESH = auto()


class Deadline:
    """When something must have happened, for a program that may stand still: what came meanwhile is read first."""

    __slots__ = ("_had_last_chance", "due_s")

    def __init__(self, due_s: float = NEVER_S) -> None:
        self.due_s = due_s
        self._had_last_chance = False

    def set(self, due_s: float) -> None:
        """From now on it is this one; NEVER_S for none."""
        self.due_s = due_s
        self._had_last_chance = False

    def has_passed(self, now_s: float) -> bool:
        """Whether it is over. At first there is a moment left, and another one each time the program stood still."""
        if now_s < self.due_s:
            return False
        is_late = now_s >= self.due_s + _STALL_S
        if self._had_last_chance and not is_late:
            return True
        self._had_last_chance = not is_late
        self.due_s = now_s + _STALL_S
        return False


class Stream:
    """State of one Connect stream."""

    __slots__ = (
        "_answered_by",
        "_last_id",
        "_local_to_server_us",
        "_ping_interval_s",
        "_ping_s",
        "_settings",
        "_written_by",
        "frame_by_s",
        "in_flight",
        "is_broken",
        "is_deaf",
        "leave_by_s",
        "reconnect_s",
        "view",
        "welcomed",
    )

    def __init__(self, number: int, settings: ClientSettings, now_s: float) -> None:
        self.view = View(number, now_s, messaging.Limits())
        self.welcomed = False
        self.in_flight: dict[int, Outgoing | Receipt | Slot] = {}
        """What has no outcome yet, by its number."""
        self.is_deaf = False
        """Whether events are no longer taken from it: they are had again from the next one."""
        self.is_broken = False
        """Whether it must be ended at once."""
        self.frame_by_s = NEVER_S
        """When the frame that was taken last must be written, or not at all."""
        self.leave_by_s = NEVER_S
        """When it is left at the latest, once that is wanted."""
        self.reconnect_s = 0.0
        """Not to connect again before this."""
        self._settings = settings
        self._last_id = 0
        self._answered_by = Deadline(now_s + settings.open_timeout_s)
        """For the answer to hello or to the ping."""
        self._written_by = Deadline()
        """For a ping that is due, and cannot be written while the connection takes nothing."""
        self._ping_s = NEVER_S
        self._ping_interval_s = settings.ping_interval_s
        self._local_to_server_us = 0

    # Commands.

    def numbered(
        self, command: messaging.Command, slot: Outgoing | Receipt | Slot | None
    ) -> messaging.Command:
        """The command as it goes into a frame of this stream."""
        self._last_id += 1
        if slot is not None:
            self.in_flight[self._last_id] = slot
        numbered = messaging.Command()
        numbered.CopyFrom(command)
        numbered.command_id = self._last_id
        if isinstance(slot, Outgoing) and slot.traceparent:
            numbered.traceparent = slot.traceparent
        return numbered

    def room(self) -> int:
        """How many more of the application's commands may be sent."""
        if not self.welcomed or self.is_leaving:
            return 0
        allowed = min(self.view.limits.max_in_flight or 1, self._settings.max_in_flight)
        return max(0, allowed - len(self.in_flight))

    def outgoing(self) -> list[Outgoing]:
        """The application's commands in flight."""
        return [slot for slot in self.in_flight.values() if isinstance(slot, Outgoing)]

    def receipts(self) -> list[Receipt]:
        """The receipts in flight."""
        return [slot for slot in self.in_flight.values() if isinstance(slot, Receipt)]

    # Its life.

    def opened(self, welcome: messaging.Welcome, now_s: float) -> None:
        """The cell has answered hello."""
        self.welcomed = True
        self._answered_by.set(NEVER_S)
        self.view.limits = welcome.limits
        self._ping_interval_s = wire.seconds(welcome.ping_interval) or self._settings.ping_interval_s
        self._ping_s = now_s + self._ping_interval_s
        self._local_to_server_us = wire.micros(welcome.server_time) - int(now_s * 1e6)

    def server_us(self, now_s: float) -> int:
        """About what the cell's clock says."""
        return int(now_s * 1e6) + self._local_to_server_us

    def ping(self, now_s: float) -> messaging.Command | None:
        """A ping, if it is time for one."""
        if not self._wants_ping(now_s):
            return None
        self._ping_s = now_s + self._ping_interval_s
        self._written_by.set(NEVER_S)
        self._answered_by.set(now_s + self._settings.pong_timeout_s)
        return self.numbered(messaging.Command(ping=messaging.Ping()), Slot.PING)

    def ponged(self) -> None:
        """The ping was answered."""
        self._answered_by.set(NEVER_S)

    def _wants_ping(self, now_s: float) -> bool:
        return now_s >= self._ping_s and self._answered_by.due_s == NEVER_S and not self.is_leaving

    def leave(self, by_s: float, reconnect_s: float = 0.0) -> None:
        """Send no more, and end when everything has its outcome or at `by_s`."""
        self.leave_by_s = min(self.leave_by_s, by_s)
        self.reconnect_s = max(self.reconnect_s, reconnect_s)

    @property
    def is_leaving(self) -> bool:
        """Whether no more is sent."""
        return self.leave_by_s != NEVER_S

    def wants_end(self, now_s: float) -> bool:
        """Whether it must be ended now."""
        return self.is_broken or (self.is_leaving and (now_s >= self.leave_by_s or not self.outgoing()))

    def on_time(self, now_s: float) -> None:
        """Find out whether the cell has answered, and whether it takes what it is sent, in time."""
        if self._wants_ping(now_s) and self._written_by.due_s == NEVER_S:
            self._written_by.set(now_s + self._settings.pong_timeout_s)
        if self._answered_by.has_passed(now_s) or self._written_by.has_passed(now_s):
            self.is_broken = True

    def due_s(self) -> float:
        """When `on_time` or `ping` has something to do."""
        due_s = min(self._answered_by.due_s, self._written_by.due_s)
        if self.is_leaving:
            return min(due_s, self.leave_by_s)
        return self._ping_s if due_s == NEVER_S else due_s
