"""Between plain values and the messages of the contract. Timestamps keep their microseconds."""

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import NotDone, Reason
from messaging_client.events import CellEvent, NewMessage, ReactionChanged, ReadMark, ReceivedMark
from messaging_client.values import (
    Attachment,
    Content,
    Conversation,
    HistoryMessage,
    Message,
    MessageRef,
    PeerMarks,
    Reaction,
)

_PREFIX = "REJECTED_REASON_"
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999, which are all that a Timestamp may hold, and that datetime can."""


def micros(time: Timestamp) -> int:
    """Microseconds since 1970; a time that no Timestamp may stand for is the nearest that one may."""
    micros = time.seconds * 1_000_000 + time.nanos // 1_000
    return micros if _FIRST_US <= micros <= _LAST_US else min(max(micros, _FIRST_US), _LAST_US)


def timestamp(time_us: int) -> Timestamp:
    """The same time."""
    return Timestamp(seconds=time_us // 1_000_000, nanos=time_us % 1_000_000 * 1_000)


def seconds(duration: Duration) -> float:
    """A length of time."""
    return duration.seconds + duration.nanos / 1e9


def ref_to(ref: MessageRef) -> messaging.MessageRef:
    """The name of a message, for the cell."""
    return messaging.MessageRef(
        conversation_id=ref.conversation_id,
        sender_id=ref.sender_id,
        message_id=ref.message_id,
        sent_at=timestamp(ref.sent_at_us),
    )


def ref_from(ref: messaging.MessageRef) -> MessageRef:
    """The name of a message."""
    return MessageRef(ref.conversation_id, ref.sender_id, ref.message_id, micros(ref.sent_at))


def content_to(content: Content) -> messaging.Content:
    """Content, for the cell. Text and data at once, which the cell cannot carry, is a ValueError."""
    if content.text and content.data:
        raise ValueError("content has text or data, not both")
    encoded = messaging.Content(content_type=content.content_type, attributes=content.attributes)
    if content.data:
        encoded.data = content.data
    elif content.text or not content.attachments:
        encoded.text = content.text  # empty text alone is for the cell to refuse, by name
    for each in content.attachments:
        encoded.attachments.add(
            uri=each.uri,
            content_type=each.content_type,
            size_bytes=each.size_bytes,
            sha256=each.sha256,
            name=each.name,
        )
    return encoded


def content_from(content: messaging.Content) -> Content:
    """What a message says."""
    return Content(
        text=content.text,
        data=content.data,
        content_type=content.content_type,
        attributes=dict(content.attributes),
        attachments=tuple(
            Attachment(each.uri, each.content_type, each.size_bytes, each.sha256, each.name)
            for each in content.attachments
        ),
    )


def message_from(message: messaging.Message) -> Message:
    """A message."""
    return Message(
        ref_from(message.ref),
        content_from(message.content),
        ref_from(message.reply_to) if message.HasField("reply_to") else None,
        message.notify,
    )


def event_from(event: messaging.Event, user_id: str) -> CellEvent | None:
    """An event as `user_id` sees it; None for one that this version does not know."""
    match event.WhichOneof("event"):
        case "message":
            mine = event.message.ref.sender_id == user_id
            return NewMessage(event.cursor, message_from(event.message), mine, event.traceparent)
        case "reaction_changed":
            changed = event.reaction_changed
            return ReactionChanged(
                event.cursor,
                ref_from(changed.message),
                changed.user_id,
                changed.key,
                changed.removed,
                micros(changed.changed_at),
                event.traceparent,
            )
        case "received_mark":
            mark = event.received_mark
            return ReceivedMark(event.cursor, mark.user_id, ref_from(mark.through), event.traceparent)
        case "read_mark":
            read = event.read_mark
            return ReadMark(event.cursor, read.user_id, ref_from(read.through), event.traceparent)
        case _:
            return None


def reason_from(number: int) -> Reason:
    """A reason by its number in the contract."""
    known = messaging.RejectedReason.DESCRIPTOR.values_by_number.get(number)
    return reason_named(known.name.removeprefix(_PREFIX) if known else "")


def reason_named(name: str) -> Reason:
    """A reason by its name in ErrorInfo."""
    return Reason(name) if name in Reason.__members__ else Reason.OTHER


def refusal_from(rejected: messaging.Rejected) -> NotDone:
    """What a Rejected says, whatever its outcome."""
    return NotDone(
        reason_from(rejected.reason),
        rejected.detail,
        field=rejected.field,
        limit=rejected.limit,
        retry_after_s=seconds(rejected.retry_after) if rejected.HasField("retry_after") else None,
        message_id=rejected.message_id,
    )


def history_message_from(shown: history.HistoryMessage) -> HistoryMessage:
    """A message with its reactions."""
    reactions = (Reaction(each.key, each.count, tuple(each.user_ids), each.mine) for each in shown.reactions)
    return HistoryMessage(message_from(shown.message), tuple(reactions))


def conversation_from(shown: history.Conversation) -> Conversation:
    """A conversation as the caller sees it."""
    return Conversation(
        shown.conversation_id,
        shown.kind,
        tuple(shown.participant_ids),
        history_message_from(shown.last_message) if shown.HasField("last_message") else None,
        shown.unread_count,
        _maybe_ref(shown, "read_through"),
        tuple(
            PeerMarks(each.user_id, _maybe_ref(each, "received_through"), _maybe_ref(each, "read_through"))
            for each in shown.peer_marks
        ),
    )


def conversation_name(conversation_id: str, with_users: Iterable[str]) -> history.ConversationName:
    """A conversation by its id, or else by who takes part."""
    if conversation_id:
        return history.ConversationName(conversation_id=conversation_id)
    named = history.ConversationName()
    getattr(named, "with").user_ids.extend(with_users)  # `with` is a word of Python
    return named


def _maybe_ref(holder: history.Conversation | history.PeerMarks, field: str) -> MessageRef | None:
    return ref_from(getattr(holder, field)) if holder.HasField(field) else None
