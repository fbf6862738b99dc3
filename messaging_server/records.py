"""A stamped command as the record that goes to the log. Events are encoded here, once, without their cursor.

Records are joined from encoded fields, with what is the same in every record of a conversation made once. That costs two
thirds of building them as messages, which give the same bytes.
"""

from functools import lru_cache
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused
from messaging_core.wire import field
from messaging_server.commands import SMALL_SET, Prepared
from messaging_server.content import too_large
from messaging_server.pieces import timestamp

MAX_RECORD_BYTES = 1_048_576 - 65_536
"""What one record may hold: the 1 MiB that logs commonly take, with slack for what a copy and an engine add."""

_RECORD_ORIGIN_TAG = b"\x0a"  # Record.origin = 1
_LOGGED_TAG = b"\x0a"  # Origin.logged = 1
_COMMAND_ID_TAG = b"\x12"  # Origin.command_id = 2
_DIGEST_TAG = b"\x19"  # Origin.payload_digest = 3, fixed64
_HOP_TAG = b"\x2a"  # Origin.traceparent = 5
_EVENT_TAG = b"\x32"  # LoggedEvent.event = 6
_TOLD_TAG: dict[int, bytes] = {
    log.EVENT_KIND_MESSAGE: b"\x12",  # Event.message = 2
    log.EVENT_KIND_REACTION_CHANGED: b"\x1a",  # Event.reaction_changed = 3
    log.EVENT_KIND_RECEIVED_MARK: b"\x22",  # Event.received_mark = 4
    log.EVENT_KIND_READ_MARK: b"\x2a",  # Event.read_mark = 5
}
_TRACEPARENT_TAG = b"\x7a"  # Event.traceparent = 15
_MESSAGE_REF_TAG = b"\x0a"  # Message.ref = 1
_MESSAGE_ID_TAG = b"\x1a"  # MessageRef.message_id = 3
_SENT_AT_TAG = b"\x22"  # MessageRef.sent_at = 4
_CHANGED_AT_TAG = b"\x2a"  # ReactionChanged.changed_at = 5
_TIME = Timestamp()
_STAMP = log.LoggedEvent()
"""Filled again and again: numbers alone, which take no new memory."""


def told_to(prepared: Prepared, participants: tuple[str, ...], max_mark_participants: int) -> tuple[str, ...]:
    """Whom the event is told to. Raises Refused for a received mark outside of direct conversations."""
    if prepared.kind == log.EVENT_KIND_RECEIVED_MARK and len(participants) != 2:
        detail = "received marks exist in direct conversations only"
        raise Refused(messaging.REJECTED_REASON_NOT_ALLOWED, detail, "through.conversation_id")
    if prepared.kind == log.EVENT_KIND_READ_MARK and len(participants) > max_mark_participants:
        return (prepared.sender_id,)
    return participants


class _Envelope(NamedTuple):
    """What all records of a sender to a conversation have in common, as encoded fields."""

    ref: bytes
    """MessageRef: conversation_id, sender_id."""
    logged: bytes
    """LoggedEvent: kind, sender_id, conversation_id, participant_count."""
    audience: bytes
    """Origin: participant_ids."""


def _envelope(
    kind: int, sender_id: str, conversation_id: str, participant_count: int, audience: tuple[str, ...]
) -> _Envelope:
    ref = messaging.MessageRef(conversation_id=conversation_id, sender_id=sender_id)
    logged = log.LoggedEvent(
        kind=kind,  # type: ignore[arg-type]
        sender_id=sender_id,
        conversation_id=conversation_id,
        participant_count=participant_count,
    )
    told = log.Origin(participant_ids=audience)
    return _Envelope(ref.SerializeToString(), logged.SerializeToString(), told.SerializeToString())


_small_envelope = lru_cache(maxsize=4_096)(_envelope)


def encode_origin(
    prepared: Prepared,
    participants: tuple[str, ...],
    audience: tuple[str, ...],
    stamp_us: int,
    hop: str = "",
) -> bytes:
    """The encoded Record of an origin. Raises Refused if it does not fit one record.

    `hop` is the trace context of its append; empty if it is not traced.
    """
    count = len(participants)
    make = _small_envelope if count <= SMALL_SET else _envelope
    envelope = make(prepared.kind, prepared.sender_id, prepared.conversation_id, count, audience)
    command_id = prepared.command_id.encode()
    event = _encode_event(prepared, command_id, stamp_us, envelope.ref)
    _STAMP.event_time_us = stamp_us
    logged = envelope.logged + _STAMP.SerializeToString() + field(_EVENT_TAG, event)
    own = b""
    if command_id:
        own = field(_COMMAND_ID_TAG, command_id) + _DIGEST_TAG + prepared.digest.to_bytes(8, "little")
    traced = field(_HOP_TAG, hop.encode()) if hop else b""
    parts = (field(_LOGGED_TAG, logged), own, envelope.audience, traced)
    encoded = field(_RECORD_ORIGIN_TAG, b"".join(parts))
    if len(encoded) > MAX_RECORD_BYTES:
        raise too_large("", "bytes of the message with all its participants", MAX_RECORD_BYTES)
    return encoded


def _encode_event(prepared: Prepared, command_id: bytes, stamp_us: int, ref: bytes) -> bytes:
    """The encoded Event without its cursor, which the record's position gives."""
    told = prepared.body
    if prepared.kind == log.EVENT_KIND_MESSAGE:
        ref += field(_MESSAGE_ID_TAG, command_id) + field(_SENT_AT_TAG, _encoded_time(stamp_us))
        told = field(_MESSAGE_REF_TAG, ref) + told
    elif prepared.kind == log.EVENT_KIND_REACTION_CHANGED:
        told += field(_CHANGED_AT_TAG, _encoded_time(stamp_us))
    event = field(_TOLD_TAG[prepared.kind], told)
    if not prepared.traceparent:
        return event
    return event + field(_TRACEPARENT_TAG, prepared.traceparent.encode())


def message_ref(prepared: Prepared, stamp_us: int) -> messaging.MessageRef:
    """How everyone will know a message."""
    return messaging.MessageRef(
        conversation_id=prepared.conversation_id,
        sender_id=prepared.sender_id,
        message_id=prepared.command_id,
        sent_at=timestamp(stamp_us),
    )


def _encoded_time(time_us: int) -> bytes:
    seconds, micros = divmod(time_us, 1_000_000)
    _TIME.seconds, _TIME.nanos = seconds, micros * 1_000
    return _TIME.SerializeToString()
