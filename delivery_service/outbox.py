"""What one link is to be told, and how its messages are built: in place, which costs half of what constructors do."""

from collections.abc import Sequence

from cell.delivery.v1 import session_link_pb2 as link
from messaging_core.events import PositionedEvent
from session_link.routed import FromOwner, Routed, fill


class Outbox:
    """The messages for one link, in order, until the shell sends them: once for everything that happened together."""

    __slots__ = ("messages", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        """Of the server at the other end, for logs."""
        self.messages: list[FromOwner] = []

    def drain(self) -> Sequence[FromOwner]:
        """Everything since the last drain."""
        messages, self.messages = self.messages, []
        return messages

    def hello(self, instance_id: str, incarnation: str, partition_count: int) -> None:
        """Open the link."""
        hello = link.LinkHello(
            instance_id=instance_id, log_incarnation=incarnation, partition_count=partition_count
        )
        self.messages.append(link.OwnerMessage(hello=hello))

    def claim(self, partition: int, generation: int) -> None:
        """Say that this instance owns a partition."""
        self.messages.append(link.OwnerMessage(claim=link.Claim(partition=partition, generation=generation)))

    def release(self, partition: int) -> None:
        """Say that it no longer does."""
        self.messages.append(link.OwnerMessage(release=link.Release(partition=partition)))

    def routed(
        self, partition: int, event: PositionedEvent, numbers: Sequence[int] | None, traceparent: str = ""
    ) -> None:
        """Tell an event to the users with these numbers, or to everyone of the partition."""
        self.messages.append(Routed(partition, event, numbers, traceparent))

    def reply(
        self,
        attach: link.Attach,
        outcome: link.AttachOutcome,
        events: Sequence[PositionedEvent] = (),
        through_offset: int = 0,
        through_time_us: int = 0,
    ) -> None:
        """Answer an attach."""
        message = link.OwnerMessage()
        reply = message.attach_reply
        reply.partition = attach.partition
        reply.session_number = attach.session_number
        reply.attempt = attach.attempt
        reply.outcome = outcome
        for event in events:
            fill(reply.events.add(), event)
        reply.through_offset = through_offset
        reply.through_time_us = through_time_us
        self.messages.append(message)

    def through(self, partition: int, offset: int, time_us: int) -> None:
        """Say that everything of the partition through an offset is on the link before this (I8)."""
        message = link.OwnerMessage()
        through = message.through
        through.partition = partition
        through.offset = offset
        through.time_us = time_us
        self.messages.append(message)

    def conflict(self, partition: int, number: int, command_id: str) -> None:
        """Tell a sender that an id was used again for another payload (R3)."""
        notice = link.ConflictNotice(partition=partition, user_number=number, command_id=command_id)
        self.messages.append(link.OwnerMessage(conflict_notice=notice))
