"""Messages, events and conversations as lines of JSON: the contract's own names, in the form of protobuf's JSON."""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from messaging_cell.terminal_safety import escaped
from messaging_client import (
    Attachment,
    CellEvent,
    Content,
    Conversation,
    ConversationKind,
    HistoryMessage,
    Message,
    MessageRef,
    NewMessage,
    NotifyLevel,
    PeerMarks,
    Reaction,
    ReactionChanged,
    ReadMark,
)

Json = dict[str, Any]


def line(value: Mapping[str, Any]) -> str:
    """One line; what could play with a terminal is escaped, and means the same."""
    return escaped(json.dumps(value, ensure_ascii=False))


def event(told: CellEvent) -> Json:
    """cell.messaging.v1.Event."""
    return {"cursor": told.cursor, **_body(told)}


def history_message(shown: HistoryMessage) -> Json:
    """cell.history.v1.HistoryMessage."""
    return _given(message=message(shown.message), reactions=[_reaction(each) for each in shown.reactions])


def conversation(shown: Conversation) -> Json:
    """cell.history.v1.Conversation."""
    return {
        "conversation_id": shown.conversation_id,
        "kind": f"CONVERSATION_KIND_{ConversationKind(shown.kind).name}",
        "participant_ids": list(shown.participant_ids),
        "unread_count": shown.unread_count,
        **_given(
            last_message=shown.last_message and history_message(shown.last_message),
            read_through=shown.read_through and ref(shown.read_through),
            peer_marks=[_peer_marks(each) for each in shown.peer_marks],
        ),
    }


def message(shown: Message) -> Json:
    """cell.messaging.v1.Message."""
    level = NotifyLevel(shown.notify) if shown.notify in set(NotifyLevel) else None
    return _given(
        ref=ref(shown.ref),
        content=_content(shown.content),
        reply_to=shown.reply_to and ref(shown.reply_to),
        notify=level and level.name_of_contract,
    )


def ref(named: MessageRef) -> Json:
    """cell.messaging.v1.MessageRef."""
    return {
        "conversation_id": named.conversation_id,
        "sender_id": named.sender_id,
        "message_id": named.message_id,
        "sent_at": time(named.sent_at),
    }


def time(moment: datetime) -> str:
    """In UTC, with its microseconds."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _body(told: CellEvent) -> Json:
    match told:
        case NewMessage():
            return {"message": message(told.message)}
        case ReactionChanged():
            changed = {"message": ref(told.message), "user_id": told.user_id, "key": told.key}
            return {
                "reaction_changed": {**changed, "removed": told.removed, "changed_at": time(told.changed_at)}
            }
        case _:
            kind = "read_mark" if isinstance(told, ReadMark) else "received_mark"
            return {kind: {"user_id": told.user_id, "through": ref(told.through)}}


def _content(content: Content) -> Json:
    return _given(
        text=content.text,
        data=base64.b64encode(content.data).decode(),
        content_type=content.content_type,
        attributes=dict(content.attributes),
        attachments=[_attachment(each) for each in content.attachments],
    )


def _attachment(each: Attachment) -> Json:
    return _given(
        uri=each.uri,
        content_type=each.content_type,
        size_bytes=str(each.size_bytes)
        if each.size_bytes
        else "",  # protobuf's JSON has 64-bit numbers as text
        sha256=base64.b64encode(each.sha256).decode(),
        name=each.name,
    )


def _reaction(each: Reaction) -> Json:
    return {"key": each.key, "count": each.count, "user_ids": list(each.user_ids), "mine": each.mine}


def _peer_marks(each: PeerMarks) -> Json:
    return _given(
        user_id=each.user_id,
        received_through=each.received_through and ref(each.received_through),
        read_through=each.read_through and ref(each.read_through),
    )


def _given(**fields: Any) -> Json:
    """Those that are not empty."""
    return {name: value for name, value in fields.items() if value}
