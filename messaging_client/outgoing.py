"""One command on its way, and what must be known of a stream to send it."""

from dataclasses import dataclass
from enum import Enum, auto

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import NotDone, Reason

NEVER_S = float("inf")
FRAMING_BYTES = 104
"""More than what a command takes in a frame beside its encoding: its number, trace context, tags and length."""
_FRAME_BYTES = 65_536
"""The least that a cell can be set to take."""


class State(Enum):
    """Where a command stands."""

    QUEUED = auto()
    """Behind others of its lane."""
    READY = auto()
    HELD = auto()
    """Not before a time."""
    IN_FLIGHT = auto()
    LOOKING = auto()
    SETTLED = auto()


@dataclass(slots=True)
class View:
    """What the outbox must know of a stream."""

    number: int
    """Rises from stream to stream; 0 is before the first."""
    opened_s: float
    """No later than the cell's reading of the log's end for `resumed`."""
    limits: messaging.Limits
    resumed: bool = False

    @property
    def frame_bytes(self) -> int:
        """The most bytes of a frame."""
        return self.limits.max_frame_bytes or _FRAME_BYTES

    @property
    def window_s(self) -> float:
        """How long after its first try a command may be tried again blindly; and how long a try may take to happen."""
        return self.limits.retry_window.ToMicroseconds() / 1e6


class Outgoing:
    """One command on its way."""

    __slots__ = (
        "blind_until_s",
        "command",
        "id",
        "is_final",
        "is_found",
        "is_marked",
        "is_posted",
        "lands_by_s",
        "lane",
        "leaves_by_s",
        "not_before_s",
        "refusal",
        "refusals",
        "sent_s",
        "size",
        "state",
        "stream",
        "traceparent",
        "tried_at_us",
        "uncertain",
        "waiters",
        "was_uncertain",
    )

    def __init__(self, id_: str, lane: str, command: messaging.Command) -> None:
        self.id = id_
        self.lane = lane
        self.command = command
        self.size = command.ByteSize()
        self.traceparent = ""
        """Not part of what is asked: the same command may be asked for in another trace."""
        self.state = State.QUEUED
        self.uncertain = False
        self.was_uncertain = False
        """Whether it was so before the latest try."""
        self.blind_until_s = -NEVER_S
        self.stream = 0
        """Number of the stream of the latest try, or of the latest look."""
        self.sent_s = -NEVER_S
        """When the latest try was made, to be written by `leaves_by_s`."""
        self.leaves_by_s = NEVER_S
        self.lands_by_s = -NEVER_S
        """By then the tries before the latest one have happened, or never will."""
        self.not_before_s = 0.0
        self.refusal: NotDone | None = None
        """The latest."""
        self.is_final = False
        """Whether trying it again would not help: after a look the refusal is its outcome."""
        self.is_found = False
        """Whether it turned out to be done after nobody waited any more."""
        self.refusals = 0
        self.is_marked = False
        """Whether the store knows that it was tried."""
        self.tried_at_us = 0
        self.waiters = 0
        self.is_posted = False
        """Whether it goes on when nobody waits."""

    @property
    def kind(self) -> str:
        """Which of the contract's commands it is."""
        return self.command.WhichOneof("command") or ""

    @property
    def is_repeatable(self) -> bool:
        """Whether doing it twice is the same as once: marks are state."""
        return self.kind == "mark_read"


def beyond(outgoing: Outgoing, view: View) -> NotDone | None:
    """A refusal of what passes the cell's limits: told here, because a frame that is too large would end the stream."""
    limits = view.limits
    recipients = len(outgoing.command.send_message.recipients.user_ids)
    content_bytes = outgoing.command.send_message.content.ByteSize()
    if 0 < limits.max_content_bytes < content_bytes:
        reason, field, limit = Reason.TOO_LARGE, "content", limits.max_content_bytes
    elif 0 < limits.max_recipients < recipients:
        reason, field, limit = Reason.TOO_MANY_RECIPIENTS, "recipients.user_ids", limits.max_recipients
    elif outgoing.size + FRAMING_BYTES > (limit := view.frame_bytes):
        reason, field = Reason.TOO_LARGE, ""
    else:
        return None
    detail = f"{field or 'bytes of the command'}: at most {limit}"
    return NotDone(reason, detail, field=field, limit=limit, message_id=outgoing.id)
