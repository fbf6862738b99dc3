"""What a client is told: each a class, so that `match` or `isinstance` tells them apart."""

from dataclasses import dataclass
from datetime import datetime

from messaging_client.errors import NotDone
from messaging_client.values import Conversation, Message, MessageRef, datetime_of


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message was sent: to this user, or by it on any of its devices."""

    cursor: str
    """Where this event stands among the user's events. Opaque."""
    message: Message
    mine: bool
    """Whether this user sent it."""
    traceparent: str = ""
    """W3C trace context in which it was asked for; empty for none."""


@dataclass(frozen=True, slots=True)
class ReactionChanged:
    """A reaction was added or taken back. For each (message, user, key) the last one counts."""

    cursor: str
    message: MessageRef
    user_id: str
    key: str
    removed: bool
    changed_at_us: int
    """When the cell took it: microseconds since 1970."""
    traceparent: str = ""
    """W3C trace context in which it was asked for; empty for none."""

    @property
    def changed_at(self) -> datetime:
        """When the cell took it, in UTC."""
        return datetime_of(self.changed_at_us)


@dataclass(frozen=True, slots=True)
class ReceivedMark:
    """Another user's client has received a direct conversation's messages through one: the highest told counts."""

    cursor: str
    user_id: str
    through: MessageRef
    traceparent: str = ""
    """W3C trace context in which it was asked for; empty for none."""


@dataclass(frozen=True, slots=True)
class ReadMark:
    """A user, perhaps this one on another device, has read a conversation through a message: the highest told counts."""

    cursor: str
    user_id: str
    through: MessageRef
    traceparent: str = ""
    """W3C trace context in which it was asked for; empty for none."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The client starts from how things stand instead of from events. `Client.conversations` gives all of them."""

    cursor: str
    """Everything up to here shows in conversations and history; events go on behind it."""
    conversations: tuple[Conversation, ...]
    """The latest active first: at most 100."""
    complete: bool
    """Whether these are all."""


@dataclass(frozen=True, slots=True)
class Started(Snapshot):
    """The first start: nothing is missing."""


@dataclass(frozen=True, slots=True)
class Gap(Snapshot):
    """Some events could not be had any more. The client has reloaded: take this state for the one before."""


@dataclass(frozen=True, slots=True)
class Reset(Snapshot):
    """The cell has another log than before, after a restore for example. Take this state for the one before."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """A command that nobody waited for any more (see `Client.post`) was refused for good.

    Also told of a message that had been accepted, if its id turned out to be taken by another one (MESSAGE_ID_CONFLICT).
    """

    message_id: str
    error: NotDone


Reloaded = Started | Gap | Reset
"""The client starts from how things stand."""

CellEvent = NewMessage | ReactionChanged | ReceivedMark | ReadMark
"""What happened in the cell; `cursor` is where."""

Event = CellEvent | Reloaded | NotSent
"""All that `Client.events` gives."""
