"""A stream's acknowledgements: what they tell the senders of direct messages, and when they have their own outcome."""

from typing import Protocol

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused
from messaging_server.commands import in_byte_order, prepared_mark
from messaging_server.marks import Delivered, ReceivedMarks
from messaging_server.pipeline import CommandDesk, Pending


class AckOutcomes(Protocol):
    """Where the outcomes of acknowledgements go."""

    def ack_done(self, command_id: int) -> None:
        """Everything it tells is durable, or it tells nothing, or a later one tells it."""

    def ack_refused(self, command_id: int, refused: Refused) -> None:
        """What it tells is not durable, or that is not known."""


class Receipts:
    """Made for a stream once it was sent a direct message. Appends marks; at most one acknowledgement waits for them."""

    __slots__ = ("_ack_id", "_desk", "_marks", "_outcomes", "_under_way", "_user_id")

    def __init__(self, desk: CommandDesk, user_id: str, outcomes: AckOutcomes) -> None:
        self._desk = desk
        self._user_id = user_id
        self._outcomes = outcomes
        self._marks = ReceivedMarks()
        self._under_way = 0
        self._ack_id = 0

    @property
    def waiting(self) -> bool:
        """Whether an acknowledgement has no outcome yet."""
        return self._ack_id != 0

    def delivered(self, sender_id: str, message: Delivered) -> None:
        """The stream was sent a direct message of another user."""
        self._marks.delivered(sender_id, message)

    def acknowledge(self, command_id: int, offset: int) -> None:
        """The client has everything at or before `offset`. The one that waited before is superseded: it is done."""
        self._settle()
        self._ack_id = command_id
        self._marks.acknowledge(offset)
        self.tell()

    def tell(self) -> None:
        """Append the marks that are due."""
        desk = self._desk
        due = self._marks.take_due(desk.now_s())
        self._under_way += len(due)  # all of them, before the first can have its outcome
        for sender_id, through in due:
            self._append(sender_id, through)
        desk.submit()
        self._settle_if_told()

    def next_due_s(self) -> float | None:
        """When `tell` has something to do; None for nothing."""
        return self._marks.next_due_s()

    def mark_accepted(self) -> None:
        """A mark is durable."""
        self._under_way -= 1
        self._settle_if_told()

    def mark_refused(self, refused: Refused, sender_id: str, through: Delivered) -> None:
        """A mark is not, or that is not known: it is told again, by the next acknowledgement or the stream's next turn.

        Not at once: the log that has refused it would be asked again by every stream, and marks can wait.
        """
        self._under_way -= 1
        self._marks.put_back(sender_id, through)
        if self._ack_id:
            command_id, self._ack_id = self._ack_id, 0
            self._outcomes.ack_refused(command_id, refused)

    def _append(self, sender_id: str, through: Delivered) -> None:
        ref = messaging.MessageRef.FromString(through.ref)
        both = in_byte_order((self._user_id, sender_id))
        kind = log.EVENT_KIND_RECEIVED_MARK
        pending = Pending(_Mark(self, sender_id, through), 0, "", self._desk.now_s())
        pending.prepared = prepared_mark(kind, ref, self._user_id, both, through.sent_at_us)
        self._desk.hand_over(pending, both)

    def _settle_if_told(self) -> None:
        if not self._under_way and self._marks.next_due_s() is None:
            self._settle()

    def _settle(self) -> None:
        if self._ack_id:
            command_id, self._ack_id = self._ack_id, 0
            self._outcomes.ack_done(command_id)


class _Mark:
    """Owns a mark on its way to the log."""

    __slots__ = ("_receipts", "_sender_id", "_through")

    def __init__(self, receipts: Receipts, sender_id: str, through: Delivered) -> None:
        self._receipts = receipts
        self._sender_id = sender_id
        self._through = through

    def accepted(self, pending: Pending) -> None:
        self._receipts.mark_accepted()

    def refused(self, pending: Pending, refused: Refused) -> None:
        self._receipts.mark_refused(refused, self._sender_id, self._through)
