"""Events on their way to a client: encoded once, where their record is read, and carried as bytes from there on."""

from typing import NamedTuple

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.cursor import Cursor, encode_cursor
from messaging_core.wire import field, varint


class PositionedEvent(NamedTuple):
    """An event at its place in a partition."""

    offset: int
    piece: bytes
    """Field `updates` of a ConnectResponse, with its tag and length: frames are made by joining pieces."""
    time_us: int
    """What its cursor carries: the newest event time of the partition at or before it, microseconds since 1970 (I12)."""
    direct_ref: bytes
    """For a message of a direct conversation its encoded MessageRef; else empty."""
    sender_id: str


class HistoryUnavailable(Exception):
    """History cannot answer now; try again."""


class EventsPage(NamedTuple):
    """Some of a user's stored events, in order."""

    events: list[PositionedEvent]
    through_offset: int
    """Every stored event of the user at or before this is in `events` or before the page (R9)."""
    through_time_us: int
    persisted_offset: int
    """How far history had come before the rows were read; the page is the last one if it equals `through_offset`."""


_UPDATES_TAG = b"\x0a"  # ConnectResponse.updates = 1, SubscribeResponse.updates = 1
_EVENT_TAG = b"\x0a"  # Update.event = 1
_CURSOR_TAG = b"\x0a"  # Event.cursor = 1


def event_piece(cursor: bytes, event_without_cursor: bytes) -> bytes:
    """The piece that shows an event: its cursor, in ASCII, before what the record holds."""
    cursor_size = varint(len(cursor))
    size = len(_CURSOR_TAG) + len(cursor_size) + len(cursor) + len(event_without_cursor)
    event_size = varint(size)
    update_size = varint(len(_EVENT_TAG) + len(event_size) + size)
    head = (_UPDATES_TAG, update_size, _EVENT_TAG, event_size, _CURSOR_TAG, cursor_size)
    return b"".join((*head, cursor, event_without_cursor))


def update_piece(update: messaging.Update) -> bytes:
    """The piece that shows any update."""
    return field(_UPDATES_TAG, update.SerializeToString())


def gap_piece(after: Cursor, until: Cursor) -> bytes:
    """The piece that shows a gap."""
    return update_piece(messaging.Update(gap=messaging.Gap(after=after.encode(), until=until.encode())))


def positioned(
    logged: log.LoggedEvent,
    incarnation: bytes,
    partition: int,
    offset: int,
    time_us: int,
    event: messaging.Event | None = None,
) -> PositionedEvent:
    """A record's event at its place, encoded for every user of the partition.

    `time_us` is the newest event time of the partition through this record; `event` is `logged.event`, if decoded.
    """
    encoded = logged.event
    direct_ref = b""
    if logged.participant_count == 2 and logged.kind == log.EVENT_KIND_MESSAGE:
        shown = messaging.Event.FromString(encoded) if event is None else event
        direct_ref = shown.message.ref.SerializeToString()
    piece = event_piece(encode_cursor(incarnation, partition, offset, time_us), encoded)
    return PositionedEvent(offset, piece, time_us, direct_ref, logged.sender_id)
