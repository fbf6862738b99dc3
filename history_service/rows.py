"""From what a record says to the rows that are stored of it. Nothing here waits."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from google.protobuf import timestamp_pb2

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from event_log.reader import Reading
from history_service.port import (
    Batch,
    GapRow,
    InboxRow,
    MarkRow,
    MessageKey,
    MessageRow,
    ReactionRow,
    SharedInboxRow,
)
from messaging_core.wire import varint

T = TypeVar("T", bound=Hashable)

_EVENT_TIME_TAG = b"\x28"  # LoggedEvent.event_time_us = 5
MIN_SECONDS, MAX_SECONDS = -62_135_596_800, 253_402_300_799  # of timestamp.proto: years 1 to 9999
_FIRST_US, _LAST_US = MIN_SECONDS * 1_000_000, MAX_SECONDS * 1_000_000 + 999_999
_REMEMBERED = 32_768
"""Conversations and members remembered as written, twice over: some 6 MB at most."""
_MESSAGES_REMEMBERED = 8_192
"""The same of messages, by their origins: a copy comes soon after its origin, or before it."""


class Rows:
    """Adds the rows of one record after the other to batches.

    An origin and its copies make many of the same rows, since a reader whose cursor covers a copy must find what it says
    even if the origin's partition lags behind. Rows that never change are made once as long as they are remembered. So
    batches must be written in order, each until it succeeds; where one is given up, begin with a new object.
    """

    __slots__ = ("_conversations", "_members", "_messages", "_partition_of", "_shared_above")

    def __init__(self, partition_of: Callable[[str], int], shared_above: int) -> None:
        """A conversation of more than `shared_above` participants has inbox rows that its users share."""
        self._partition_of = partition_of
        self._shared_above = shared_above
        self._messages: Lately[tuple[int, int]] = Lately(_MESSAGES_REMEMBERED)
        self._conversations: Lately[str] = Lately(_REMEMBERED)
        self._members: Lately[tuple[str, str]] = Lately(_REMEMBERED)

    def add(self, batch: Batch, partition: int, reading: Reading) -> None:
        """Add the rows of an effective record."""
        logged, event = reading.logged, reading.event
        users = self._users_here(partition, reading)
        kind = logged.kind
        if kind == log.EVENT_KIND_READ_MARK or kind == log.EVENT_KIND_RECEIVED_MARK:
            _add_mark(batch, partition, reading, users)
            return
        if kind == log.EVENT_KIND_MESSAGE:
            self._add_message(batch, partition, reading, event.message.ref, users)
        elif kind == log.EVENT_KIND_REACTION_CHANGED:
            batch.participant_counts[logged.conversation_id] = logged.participant_count
            _, origin_offset = _origin(partition, reading)
            _add_reaction(batch, logged.conversation_id, event.reaction_changed, origin_offset)
        self._add_inbox(batch, partition, reading, users)

    def _users_here(self, partition: int, reading: Reading) -> Sequence[str]:
        """Whom of this partition the record is told to: an origin names everyone, a copy those here."""
        if reading.copy is not None:
            return reading.recipients
        partition_of = self._partition_of
        return [user for user in reading.recipients if partition_of(user) == partition]

    def _add_message(
        self,
        batch: Batch,
        partition: int,
        reading: Reading,
        ref: messaging.MessageRef,
        users: Sequence[str],
    ) -> None:
        logged = reading.logged
        conversation_id = logged.conversation_id
        key = message_key(ref)
        batch.participant_counts[conversation_id] = logged.participant_count
        if self._messages.add(_origin(partition, reading)):
            batch.messages.append(MessageRow(conversation_id, *key, logged.event))
        if reading.origin is not None and self._conversations.add(conversation_id):
            batch.conversations[conversation_id] = tuple(reading.recipients)
        if logged.participant_count <= self._shared_above:
            activity = batch.activity
            for user in users:
                name = (user, conversation_id)
                if activity.get(name, 0) < key.sent_at_us:
                    activity[name] = key.sent_at_us

    def _add_inbox(self, batch: Batch, partition: int, reading: Reading, users: Sequence[str]) -> None:
        logged, offset = reading.logged, reading.offset
        encoded = _encoded(reading)
        if logged.participant_count <= self._shared_above:
            batch.inbox[partition] += [InboxRow(user, offset, encoded) for user in users]
            return
        conversation_id = logged.conversation_id
        batch.shared_inbox.append(SharedInboxRow(conversation_id, partition, offset, encoded))
        names = ((user, conversation_id) for user in users)
        batch.memberships.update(name for name in names if self._members.add(name))


def add_gap(batch: Batch, partition: int, offset: int, time_us: int) -> None:
    """Add the row of an unreadable record; `time_us` is the newest event time of the partition before it."""
    batch.gaps.append(GapRow(partition, offset, time_us))


def message_key(ref: messaging.MessageRef) -> MessageKey:
    """The place of a message in its conversation. Timestamps have microsecond precision; what is finer is cut."""
    return MessageKey(microseconds(ref.sent_at), ref.sender_id, ref.message_id)


def microseconds(time: timestamp_pb2.Timestamp) -> int:
    """Microseconds since 1970; a time that no Timestamp may stand for is the nearest that one may."""
    micros = time.seconds * 1_000_000 + time.nanos // 1_000
    if not _FIRST_US <= micros <= _LAST_US:
        micros = min(max(micros, _FIRST_US), _LAST_US)
    return micros


def _origin(partition: int, reading: Reading) -> tuple[int, int]:
    """Where the log has the origin: partition, offset."""
    copy = reading.copy
    return (partition, reading.offset) if copy is None else (copy.source_partition, copy.source_offset)


def _encoded(reading: Reading) -> bytes:
    """The event to store, its time that of its cursor: the event's own is within it."""
    logged = reading.logged
    encoded = logged.SerializeToString()
    if reading.time_us != logged.event_time_us:  # of a field that comes twice the last one counts
        encoded += _EVENT_TIME_TAG + varint(reading.time_us)
    return encoded


def _add_mark(batch: Batch, partition: int, reading: Reading, users: Sequence[str]) -> None:
    logged, event = reading.logged, reading.event
    is_read = logged.kind == log.EVENT_KIND_READ_MARK
    through = message_key((event.read_mark if is_read else event.received_mark).through)
    encoded = _encoded(reading)
    name = (logged.conversation_id, logged.sender_id, int(logged.kind))
    batch.marks[partition] += [MarkRow(user, *name, *through, reading.offset, encoded) for user in users]


def _add_reaction(
    batch: Batch, conversation_id: str, changed: messaging.ReactionChanged, origin_offset: int
) -> None:
    key = message_key(changed.message)
    batch.reactions.append(
        ReactionRow(conversation_id, *key, changed.key, changed.user_id, origin_offset, changed.removed)
    )


class Lately(Generic[T]):
    """Remembers at least the last `size` different items, at most twice as many, at the cost of a set."""

    __slots__ = ("_new", "_old", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._new: set[T] = set()
        self._old: set[T] = set()

    def __contains__(self, item: T) -> bool:
        return item in self._new or item in self._old

    def add(self, item: T) -> bool:
        """Whether the item was not remembered; it is now."""
        if item in self._new:
            return False
        is_new = item not in self._old
        self._new.add(item)
        if len(self._new) >= self._size:
            self._old, self._new = self._new, set()
        return is_new
