"""Events on a link. They are nearly all that passes, so within one process they pass as they are."""

from collections.abc import Sequence
from typing import NamedTuple

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.events import PositionedEvent

_NUMBER_BYTES = 5
_FIELDS_BYTES = 40


class Routed(NamedTuple):
    """Stands for an OwnerMessage with `routed`: an event and whom it is for."""

    partition: int
    event: PositionedEvent
    user_numbers: Sequence[int] | None
    """The users it is for, by the numbers their attaches gave them; None for everyone of the partition."""
    traceparent: str = ""
    """Trace context of the span that routed it; empty unless the cell traces the event."""

    def ByteSize(self) -> int:
        """About what it takes."""
        event, numbers = self.event, self.user_numbers
        return len(event.piece) + len(event.direct_ref) + _FIELDS_BYTES + _NUMBER_BYTES * len(numbers or ())


def fill(message: link.RoutedEvent, event: PositionedEvent) -> None:
    """Put an event into a message: in place, which costs half of what constructors do."""
    message.offset, message.piece, message.event_time_us, direct_ref, sender_id = event
    if direct_ref:
        message.direct_ref = direct_ref
    message.sender_id = sender_id


FromOwner = link.OwnerMessage | Routed
"""What a delivery service says; never an OwnerMessage with `routed`."""


def to_message(said: FromOwner) -> link.OwnerMessage:
    """As it passes between processes."""
    if not isinstance(said, Routed):
        return said
    message = link.OwnerMessage()
    routed = message.routed
    routed.partition = said.partition
    if said.user_numbers is None:
        routed.everyone = True
    else:
        routed.user_numbers.extend(said.user_numbers)
    fill(routed.event, said.event)
    if said.traceparent:
        routed.traceparent = said.traceparent
    return message


def from_message(message: link.OwnerMessage) -> FromOwner:
    """What came from another process, as it passes within one."""
    if not message.HasField("routed"):
        return message
    routed, event = message.routed, message.routed.event
    positioned = PositionedEvent(
        event.offset, event.piece, event.event_time_us, event.direct_ref, event.sender_id
    )
    numbers = None if routed.everyone else tuple(routed.user_numbers)
    return Routed(routed.partition, positioned, numbers, routed.traceparent)
