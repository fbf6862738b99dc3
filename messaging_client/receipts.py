"""What the application has received, told to the cell so that senders learn of it: coalesced, and at most once a second.

Acknowledge is cumulative and speaks for the direct messages of its own stream. For those of an earlier stream, which broke
before they were told, there is MarkReceived: one for each conversation, through the newest of them. All of it is a courtesy:
what is told twice changes nothing, and what is lost with the process harms nobody.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client import wire
from messaging_client.events import CellEvent, NewMessage
from messaging_client.outgoing import NEVER_S
from messaging_client.values import MessageRef

_INTERVAL_S = 1.0
"""The cell tells senders no more often."""
_MARKS_AT_ONCE = 8
"""MarkReceived in an interval: they count as commands that append, and must not take the rate from the application's."""
_REMEMBERED = 1_024
"""Events that were handed over and not acknowledged, and conversations to be marked. Beyond: the oldest is not told."""


@lru_cache(maxsize=4_096)
def is_direct(conversation_id: str, one: str, other: str) -> bool:
    """Whether this is the conversation of exactly these two users: its id is the hash of them."""
    digest = hashlib.sha256(b"cell.conversation.v1\0")
    for user_id in sorted((one.encode(), other.encode())):
        digest.update(len(user_id).to_bytes(2, "big") + user_id)
    return one != other and urlsafe_b64encode(digest.digest()[:16]).decode().rstrip("=") == conversation_id


@dataclass(frozen=True, slots=True)
class Receipt:
    """A command that tells of receipt, and the messages through which it does."""

    command: messaging.Command
    through: tuple[MessageRef, ...]


class Receipts:
    """Remembers what was handed over, and makes the commands that tell of it; one batch of them is under way at a time."""

    __slots__ = ("_cursor", "_earlier", "_from_s", "_handed", "_here", "_stream", "_under_way")

    def __init__(self) -> None:
        self._stream = 0
        """Number of the present stream; 0 for none."""
        self._handed: OrderedDict[str, tuple[int, MessageRef | None]] = OrderedDict()
        """By cursor: the stream that brought the event, and which direct message it was."""
        self._cursor = ""
        self._here: dict[str, MessageRef] = {}
        """By conversation: the newest message that the present stream has brought, to be acknowledged at `_cursor`."""
        self._earlier: OrderedDict[str, MessageRef] = OrderedDict()
        """By conversation: the newest message that an earlier stream has brought, to be marked."""
        self._under_way = 0
        self._from_s = -NEVER_S

    def opened(self, stream: int) -> None:
        """From now on this is the present stream."""
        self._stream = stream

    def handed(self, event: CellEvent, stream: int, user_id: str) -> None:
        """An event of this stream was handed to the application of this user."""
        ref = event.message.ref if isinstance(event, NewMessage) and not event.mine else None
        if ref is not None and not is_direct(ref.conversation_id, user_id, ref.sender_id):
            ref = None
        self._handed[event.cursor] = stream, ref
        if len(self._handed) > _REMEMBERED:
            self._handed.popitem(last=False)

    def received(self, cursor: str) -> None:
        """The application has received everything through this event, which was handed to it."""
        while cursor in self._handed:
            _, (stream, ref) = self._handed.popitem(last=False)
            if ref is None:
                continue
            if stream == self._stream:
                self._here[ref.conversation_id] = ref
                self._earlier.pop(ref.conversation_id, None)
                self._cursor = cursor
            else:
                self._mark(ref)

    def take(self, now_s: float, room: int) -> list[Receipt]:
        """At most `room` commands to send now; then their outcomes are waited for."""
        if now_s < self.due_s() or room <= 0:
            return []
        self._from_s = now_s + _INTERVAL_S
        receipts = []
        if self._here:
            acknowledge = messaging.Acknowledge(cursor=self._cursor)
            receipts.append(Receipt(messaging.Command(acknowledge=acknowledge), tuple(self._here.values())))
            self._here.clear()
        for _ in range(min(len(self._earlier), _MARKS_AT_ONCE, room - len(receipts))):
            _, ref = self._earlier.popitem(last=False)
            receipts.append(Receipt(messaging.Command(mark_received=_mark_received(ref)), (ref,)))
        self._under_way = len(receipts)
        return receipts

    def due_s(self) -> float:
        """When `take` has something."""
        return self._from_s if (self._here or self._earlier) and not self._under_way else NEVER_S

    def told(self) -> None:
        """A receipt has its outcome, and nothing is to be done about it."""
        self._under_way -= 1

    def untold(self, receipt: Receipt, until_s: float = -NEVER_S) -> None:
        """A receipt was not told, or that is not known. It is told again, not before this time."""
        self._under_way -= 1
        self._from_s = max(self._from_s, until_s)
        for ref in receipt.through:
            self._mark(ref)

    def stream_ended(self) -> None:
        """The present stream is over. Its receipts without an outcome are `untold`."""
        self._stream = 0
        here, self._here = self._here, {}
        for ref in here.values():
            self._mark(ref)

    def _mark(self, ref: MessageRef) -> None:
        """To be marked, unless an acknowledgement or a mark of a newer message will say it."""
        known = self._here.get(ref.conversation_id) or self._earlier.get(ref.conversation_id)
        if known is None or known.sort_key < ref.sort_key:
            self._earlier[ref.conversation_id] = ref
            if len(self._earlier) > _REMEMBERED:
                self._earlier.popitem(last=False)


def _mark_received(ref: MessageRef) -> messaging.MarkReceived:
    sender = messaging.Recipients(user_ids=[ref.sender_id])  # saves the cell a look-up
    return messaging.MarkReceived(through=wire.ref_to(ref), participants=sender)
