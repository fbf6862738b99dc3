"""The store port: what every engine of history promises.

A store is a fold of the log: it holds what the effective records say, and nothing else. Each statement of a batch can be
run again at any time, in any order with others, and gives the same rows, because every row either never changes or has a
value that wins by its own order (an origin's position, a message's place in its conversation). So an engine needs neither
transactions across its partitions, nor to read before it writes; statements with timestamps from the log do (Cassandra).

Positions are (log incarnation, partition, offset). Of two incarnations the one first given to the store later is above the
other everywhere. Ids are ASCII and compared as bytes.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

UNREAD_CAP = 1_000
"""Unread messages are counted up to this many."""
REACTING_USERS_SHOWN = 20
"""User ids told for one key of a message; `total` counts them all."""
REACTION_KEYS_SHOWN = 100
"""Keys told for one message."""
REACTIONS_LOOKED_AT = 4_000
"""Reactions to one message, in force or taken back, by key and then user, that every read looks at."""


class StoreError(Exception):
    """The store cannot be used, and trying again will not help."""


class StoreUnavailable(Exception):
    """The store cannot do it now: away, busy or full; try again. What was to be written may be written or not."""


class MessageKey(NamedTuple):
    """Places a message in its conversation: sorts as conversations are shown."""

    sent_at_us: int
    sender_id: str
    message_id: str


class Cut(NamedTuple):
    """A place between the messages of a conversation."""

    key: MessageKey
    after: bool = False
    """Just after `key` instead of just before it."""


BEGINNING = Cut(MessageKey(-(2**63), "", ""))
END = Cut(MessageKey(2**63 - 1, "", ""))


class MessageRow(NamedTuple):
    """A message; never changes."""

    conversation_id: str
    sent_at_us: int
    sender_id: str
    message_id: str
    event: bytes
    """LoggedEvent.event."""


class InboxRow(NamedTuple):
    """An event of one user at its position in the user's partition; never changes."""

    user_id: str
    offset: int
    logged: bytes
    """An encoded LoggedEvent, its event_time_us that of its cursor: the newest of the partition through this record."""


class SharedInboxRow(NamedTuple):
    """An event of all users of one partition who are in a large conversation; never changes."""

    conversation_id: str
    partition: int
    offset: int
    logged: bytes


class ReactionRow(NamedTuple):
    """Whether a user's reaction is there, as of its origin; the highest origin wins, and a removal is a value."""

    conversation_id: str
    sent_at_us: int
    sender_id: str
    message_id: str
    key: str
    user_id: str
    origin_offset: int
    """In the partition of `user_id`."""
    removed: bool


class MarkRow(NamedTuple):
    """How far `marker_id` has come in a conversation, as `user_id` was told; the highest message wins, then offset."""

    user_id: str
    conversation_id: str
    marker_id: str
    kind: int
    """EVENT_KIND_RECEIVED_MARK or EVENT_KIND_READ_MARK."""
    sent_at_us: int
    sender_id: str
    message_id: str
    offset: int
    """Of the record that told so in the partition of `user_id`."""
    logged: bytes

    @property
    def through(self) -> MessageKey:
        """The message that is marked."""
        return MessageKey(self.sent_at_us, self.sender_id, self.message_id)


class GapRow(NamedTuple):
    """A record that cannot be read (R5): a gap for every user of the partition with no event there; never changes."""

    partition: int
    offset: int
    time_us: int
    """The newest event time of the partition before it."""


class Persisted(NamedTuple):
    """How far the store has come in a partition."""

    offset: int
    """Everything at or before it is stored; -1 if nothing is known to be."""
    time_us: int
    """The newest event time at or before it; 0 for none."""


@dataclass(slots=True)
class Batch:
    """Rows of some records, and the positions that are reached with them."""

    incarnation: str
    messages: list[MessageRow] = field(default_factory=list)
    inbox: defaultdict[int, list[InboxRow]] = field(default_factory=lambda: defaultdict(list))
    """By partition of the log, which is that of the rows' users."""
    shared_inbox: list[SharedInboxRow] = field(default_factory=list)
    reactions: list[ReactionRow] = field(default_factory=list)
    marks: defaultdict[int, list[MarkRow]] = field(default_factory=lambda: defaultdict(list))
    """By partition of the log, which is that of the rows' users."""
    gaps: list[GapRow] = field(default_factory=list)
    conversations: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Who takes part, in byte order; never changes."""
    participant_counts: dict[str, int] = field(default_factory=dict)
    """How many take part in the conversations of messages and reactions: what bounds how large they grow."""
    activity: dict[tuple[str, str], int] = field(default_factory=dict)
    """(user, conversation): sent_at of its latest message, microseconds; the highest wins."""
    memberships: set[tuple[str, str]] = field(default_factory=set)
    """(user, large conversation): the user's events of it are in the shared inbox; never taken back."""
    positions: dict[int, Persisted] = field(default_factory=dict)
    """By partition; the highest wins."""


class Reactions(NamedTuple):
    """One key's reactions to a message, as a certain reader sees them."""

    key: str
    total: int
    user_ids: tuple[str, ...]
    """The first REACTING_USERS_SHOWN in byte order."""
    mine: bool


class StoredMessage(NamedTuple):
    """A message with what was added to it."""

    conversation_id: str
    key: MessageKey
    event: bytes
    """LoggedEvent.event."""
    reactions: tuple[Reactions, ...]
    """In force, the first REACTION_KEYS_SHOWN by key in byte order; of more than REACTIONS_LOOKED_AT at least those among
    the first so many."""


class Overview(NamedTuple):
    """A conversation as one user sees it."""

    conversation_id: str
    participants: tuple[str, ...]
    """In byte order."""
    last_at_us: int
    """sent_at of its latest message; 0 for none."""
    last_message: StoredMessage | None
    unread: int
    """Messages of others after the user's own read mark, at most UNREAD_CAP."""
    marks: tuple[MarkRow, ...]
    """The highest of each marker and kind that the user was told, the user's own too."""

    @property
    def last_message_bytes(self) -> int:
        """Size of the last message's event."""
        return len(self.last_message.event) if self.last_message else 0


class Page(NamedTuple, Generic[T]):
    """The first of what was asked for: as many as asked for, or fewer where they would be too large."""

    items: Sequence[T]
    more: bool
    """Whether others follow."""


def page_of(sized: Iterable[tuple[T, int]], limit: int, max_bytes: int) -> Page[T]:
    """The first of these items, each given with its size; takes one more than it gives. See HistoryStore.messages."""
    items: list[T] = []
    total = 0
    for item, size in sized:
        total += size
        if len(items) == limit or (items and total > max_bytes):
            return Page(items, True)
        items.append(item)
    return Page(items, False)


class EventsAsked(NamedTuple):
    """Which events of a user are asked for."""

    incarnation: str
    user_id: str
    partition: int
    after: int
    """Events above this offset."""
    through: int
    """Events at or below this offset."""
    max_events: int
    max_bytes: int
    """Of `logged`, together; at least one event is given all the same."""


class StoredEvent(NamedTuple):
    """An event of a user, or a gap."""

    offset: int
    logged: bytes
    """An encoded LoggedEvent, its event_time_us that of its cursor; empty for a gap."""
    gap_time_us: int
    """GapRow.time_us of a gap; else 0."""


class EventsFound(NamedTuple):
    """Events of a user, in order."""

    events: list[StoredEvent]
    complete: bool
    """Whether these are all up to EventsAsked.through."""
    kept_from: int = 0
    """Events at offsets below this are no longer kept; those asked for are not among `events`."""


class HistoryStore(ABC):
    """Keeps history. Used by tasks of one event loop. Every method but `close` raises StoreUnavailable.

    A read sees every write that ended before it began.
    """

    batch_records: int = 512
    """Records whose rows make one batch, at most: what a registration that waits for a write is held up by, some 10 ms."""
    write_interval_s: float = 0.25
    """Writes of a little are this far apart: rounds are then larger, and share pages, fsyncs and wake-ups."""

    @abstractmethod
    async def write(self, batch: Batch) -> None:
        """Make a batch durable. Idempotent, whatever was written since; part of a batch that failed may be stored.

        A position is stored with its rows or after them, never before (I3, I9).
        """

    @abstractmethod
    async def register(self, conversation_id: str, participants: tuple[str, ...]) -> None:
        """Make it durable who takes part in a conversation, in byte order. Idempotent."""

    @abstractmethod
    async def participants(self, conversation_ids: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Who takes part, of those conversations that were registered or written."""

    @abstractmethod
    async def persisted(self, incarnation: str, partition: int) -> Persisted:
        """How far the store has come. Read it before rows: they then hold everything up to it (R9)."""

    @abstractmethod
    async def events(self, asked: EventsAsked) -> EventsFound:
        """A user's events in order: inbox, shared inbox, gaps, and of each mark the record of its highest value.

        A gap with an event in its place is none any more: what could not be read was put back.
        """

    @abstractmethod
    async def messages(
        self, conversation_id: str, cut: Cut, newer: bool, limit: int, max_bytes: int, reader_id: str
    ) -> Page[StoredMessage]:
        """Messages on one side of a cut, those nearest to it first, at most `limit`.

        At most `max_bytes` of events together, but at least one message if `limit` is above 0.
        """

    @abstractmethod
    async def named_messages(
        self, names: Sequence[tuple[str, MessageKey]], reader_id: str
    ) -> Sequence[StoredMessage | None]:
        """For each (conversation, message) the message, if it is there and `reader_id` takes part in the conversation."""

    @abstractmethod
    async def overviews(
        self, user_id: str, before: tuple[int, str] | None, limit: int, max_bytes: int
    ) -> Page[Overview]:
        """The user's conversations that have messages by falling (last_at_us, conversation_id), below `before`.

        At most `limit`, and at most `max_bytes` of last messages together, but at least one.
        """

    @abstractmethod
    async def overview(self, user_id: str, conversation_id: str) -> Overview | None:
        """One conversation, whether the user is in it or not; None if it is not known."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is under way and stop."""
