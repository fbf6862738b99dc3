"""What is shown of what is stored."""

from collections.abc import Sequence

from cell.history.v1 import history_pb2 as history
from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from history_service.port import MarkRow, MessageKey, Overview, StoredMessage


def history_message(stored: StoredMessage) -> history.HistoryMessage:
    """A message with its reactions."""
    return history.HistoryMessage(
        message=messaging.Event.FromString(stored.event).message,
        reactions=[
            history.Reaction(key=key, count=total, user_ids=user_ids, mine=mine)
            for key, total, user_ids, mine in stored.reactions
        ],
    )


def conversation(overview: Overview, user_id: str) -> history.Conversation:
    """A conversation as the user sees it."""
    shown = history.Conversation(
        conversation_id=overview.conversation_id,
        kind=_kind(len(overview.participants)),
        participant_ids=overview.participants,
        participant_count=len(overview.participants),
        unread_count=overview.unread,
        peer_marks=_peer_marks(overview.marks, user_id),
    )
    if overview.last_message is not None:
        shown.last_message.CopyFrom(history_message(overview.last_message))
    own = [mark for mark in overview.marks if mark.marker_id == user_id and _is_read(mark)]
    if own:
        shown.read_through.CopyFrom(_ref(overview.conversation_id, own[0].through))
    return shown


def _kind(participants: int) -> history.ConversationKind:
    if participants == 1:
        return history.CONVERSATION_KIND_SELF
    return history.CONVERSATION_KIND_DIRECT if participants == 2 else history.CONVERSATION_KIND_GROUP


def _peer_marks(marks: Sequence[MarkRow], user_id: str) -> list[history.PeerMarks]:
    """How far each other participant has come; who has read a message has received it."""
    shown = []
    for peer in sorted({mark.marker_id for mark in marks} - {user_id}):
        of_peer = [mark for mark in marks if mark.marker_id == peer]
        received = max(mark.through for mark in of_peer)
        peer_marks = history.PeerMarks(
            user_id=peer, received_through=_ref(of_peer[0].conversation_id, received)
        )
        for mark in filter(_is_read, of_peer):
            peer_marks.read_through.CopyFrom(_ref(mark.conversation_id, mark.through))
        shown.append(peer_marks)
    return shown


def _is_read(mark: MarkRow) -> bool:
    return mark.kind == log.EVENT_KIND_READ_MARK


def _ref(conversation_id: str, key: MessageKey) -> messaging.MessageRef:
    ref = messaging.MessageRef(
        conversation_id=conversation_id, sender_id=key.sender_id, message_id=key.message_id
    )
    ref.sent_at.FromMicroseconds(key.sent_at_us)
    return ref
