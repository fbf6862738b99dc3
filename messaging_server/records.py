"""A stamped command as the record that goes to the log. Events are encoded here, once, without their cursor."""

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.refusals import Refused
from messaging_server.commands import Prepared
from messaging_server.content import too_large
from messaging_server.pieces import joined_field, timestamp

MAX_RECORD_BYTES = 1_048_576 - 65_536
"""What one record may hold: the 1 MiB that logs commonly take, with slack for what a copy and an engine add."""

_EVENT_FIELD: dict[int, int] = {
    log.EVENT_KIND_MESSAGE: messaging.Event.MESSAGE_FIELD_NUMBER,
    log.EVENT_KIND_REACTION_CHANGED: messaging.Event.REACTION_CHANGED_FIELD_NUMBER,
    log.EVENT_KIND_RECEIVED_MARK: messaging.Event.RECEIVED_MARK_FIELD_NUMBER,
    log.EVENT_KIND_READ_MARK: messaging.Event.READ_MARK_FIELD_NUMBER,
}


def told_to(prepared: Prepared, participants: tuple[str, ...], max_mark_participants: int) -> tuple[str, ...]:
    """Whom the event is told to. Raises Refused for a received mark outside of direct conversations."""
    if prepared.kind == log.EVENT_KIND_RECEIVED_MARK and len(participants) != 2:
        detail = "received marks exist in direct conversations only"
        raise Refused(messaging.REJECTED_REASON_NOT_ALLOWED, detail, "through.conversation_id")
    if prepared.kind == log.EVENT_KIND_READ_MARK and len(participants) > max_mark_participants:
        return (prepared.sender_id,)
    return participants


def encode_origin(
    prepared: Prepared, participants: tuple[str, ...], audience: tuple[str, ...], stamp_us: int
) -> bytes:
    """The encoded Record of an origin. Raises Refused if it does not fit one record."""
    record = log.Record()
    origin = record.origin
    origin.command_id = prepared.command_id
    origin.payload_digest = prepared.digest
    origin.participant_ids.extend(audience)
    logged = origin.logged
    logged.kind = prepared.kind  # type: ignore[assignment]
    logged.sender_id = prepared.sender_id
    logged.conversation_id = prepared.conversation_id
    logged.participant_count = len(participants)
    logged.event_time_us = stamp_us
    logged.event = encode_event(prepared, stamp_us)
    encoded = record.SerializeToString()
    if len(encoded) > MAX_RECORD_BYTES:
        raise too_large("", "bytes of the message with all its participants", MAX_RECORD_BYTES)
    return encoded


def encode_event(prepared: Prepared, stamp_us: int) -> bytes:
    """The encoded Event without its cursor, which the record's position gives."""
    event = joined_field(_EVENT_FIELD[prepared.kind], _told(prepared, stamp_us))
    if not prepared.traceparent:
        return event
    return event + joined_field(messaging.Event.TRACEPARENT_FIELD_NUMBER, prepared.traceparent.encode())


def message_ref(prepared: Prepared, stamp_us: int) -> messaging.MessageRef:
    """How everyone will know a message."""
    return messaging.MessageRef(
        conversation_id=prepared.conversation_id,
        sender_id=prepared.sender_id,
        message_id=prepared.command_id,
        sent_at=timestamp(stamp_us),
    )


def _told(prepared: Prepared, stamp_us: int) -> bytes:
    if prepared.kind == log.EVENT_KIND_MESSAGE:
        return joined_field(1, message_ref(prepared, stamp_us).SerializeToString()) + prepared.body
    if prepared.kind == log.EVENT_KIND_REACTION_CHANGED:
        return prepared.body + joined_field(5, timestamp(stamp_us).SerializeToString())
    return prepared.body
