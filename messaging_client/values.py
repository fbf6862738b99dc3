"""What messages and conversations are, as plain values. Times are whole microseconds, as the cell compares them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def datetime_of(micros: int) -> datetime:
    """A time in UTC, exact."""
    return _EPOCH + micros * _MICROSECOND


def micros_of(time: datetime) -> int:
    """Microseconds since 1970, exact. A time without a zone is taken as local time."""
    return (time.astimezone(UTC) - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class MessageRef:
    """Names a message for good."""

    conversation_id: str
    sender_id: str
    message_id: str
    sent_at_us: int
    """When the cell took it: microseconds since 1970."""

    @property
    def sent_at(self) -> datetime:
        """When the cell took it, in UTC."""
        return datetime_of(self.sent_at_us)

    @property
    def sort_key(self) -> tuple[int, str, str]:
        """The order in which everybody's conversation shows its messages."""
        return self.sent_at_us, self.sender_id, self.message_id


class NotifyLevel(IntEnum):
    """How loudly the recipients should be told of a message. The cell only carries it."""

    SILENT = 1
    NORMAL = 2
    URGENT = 3

    @property
    def name_of_contract(self) -> str:
        """Its name in cell.messaging.v1."""
        return f"NOTIFY_LEVEL_{self.name}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file kept elsewhere."""

    uri: str
    content_type: str
    """Media type (RFC 6838)."""
    size_bytes: int = 0
    """0 = not known."""
    sha256: bytes = b""
    """32 bytes, or empty."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What a message says: text or data, or attachments, or both."""

    text: str = ""
    data: bytes = b""
    """Bytes that the cell does not look into; needs a content_type."""
    content_type: str = ""
    """Media type of the text or data (RFC 6838); empty = text/plain."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A message as everyone sees it."""

    ref: MessageRef
    content: Content
    reply_to: MessageRef | None = None
    """The message it answers."""
    notify: int = NotifyLevel.NORMAL

    @property
    def text(self) -> str:
        """Its text; empty if it has none."""
        return self.content.text

    @property
    def sender_id(self) -> str:
        """Who sent it."""
        return self.ref.sender_id

    @property
    def conversation_id(self) -> str:
        """Where it belongs."""
        return self.ref.conversation_id

    @property
    def sent_at(self) -> datetime:
        """When the cell took it, in UTC."""
        return self.ref.sent_at


@dataclass(frozen=True, slots=True)
class Reaction:
    """One kind of reaction to a message."""

    key: str
    count: int
    user_ids: tuple[str, ...]
    """Who: the first 20."""
    mine: bool


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """A message with what was added to it."""

    message: Message
    reactions: tuple[Reaction, ...] = ()


class ConversationKind(IntEnum):
    """What sort of conversation."""

    SELF = 1
    DIRECT = 2
    GROUP = 3


@dataclass(frozen=True, slots=True)
class PeerMarks:
    """How far another participant has come; None for not told."""

    user_id: str
    received_through: MessageRef | None
    read_through: MessageRef | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as this user sees it."""

    conversation_id: str
    kind: int
    """A ConversationKind."""
    participant_ids: tuple[str, ...]
    """Everyone, this user too."""
    last_message: HistoryMessage | None
    unread_count: int
    """Messages of others after read_through; 1,000 stands for more than 999."""
    read_through: MessageRef | None
    peer_marks: tuple[PeerMarks, ...]
