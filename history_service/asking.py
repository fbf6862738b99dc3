"""What requests may ask: each function reads a part of a request, or says which field is wrong and why."""

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf import timestamp_pb2

from cell.history.v1 import history_pb2 as history
from cell.messaging.v1 import messaging_pb2 as messaging
from history_service.port import BEGINNING, END, Cut, MessageKey
from history_service.rows import MAX_SECONDS, MIN_SECONDS, message_key
from messaging_core.ids import (
    MAX_COMMAND_ID_BYTES,
    MAX_USER_ID_BYTES,
    conversation_id,
    is_command_id,
    is_conversation_id,
    is_user_id,
)
from messaging_core.refusals import Refused

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
MAX_NAMED_MESSAGES = 100


class Window(NamedTuple):
    """A page of messages: how many on each side of a cut."""

    cut: Cut
    older: int
    newer: int


def page_size(asked: int) -> int:
    """How many items a page may have."""
    if asked < 0:
        raise invalid("page_size", "page_size must not be negative")
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def named_conversation(name: history.ConversationName, caller: str, max_recipients: int) -> str:
    """The id of the conversation that is named, whether it exists or not."""
    which = name.WhichOneof("name")
    if which is None:
        raise invalid("conversation", "conversation is required: its conversation_id, or with whom")
    if which == "conversation_id":
        return _conversation_id(name.conversation_id, "conversation.conversation_id")
    users = list(getattr(name, "with").user_ids)
    _check_users(users, "conversation.with.user_ids", max_recipients)
    return conversation_id([*users, caller])


def window(request: history.ListMessagesRequest, conversation: str) -> Window:
    """Where the first page of a listing starts."""
    size = page_size(request.page_size)
    cut = _anchor(request, conversation)
    if request.direction in (history.DIRECTION_UNSPECIFIED, history.DIRECTION_OLDER):
        return Window(cut or END, size, 0)
    if request.direction == history.DIRECTION_NEWER:
        is_message = request.WhichOneof("anchor") == "message"
        return Window(cut._replace(after=is_message) if cut else BEGINNING, 0, size)
    if request.direction != history.DIRECTION_AROUND:
        raise invalid("direction", f"direction {request.direction} is not known")
    if cut is None:
        raise invalid("anchor", "direction AROUND needs an anchor: a time or a message")
    return Window(cut, size // 2, size - size // 2)


def named_messages(refs: Sequence[messaging.MessageRef]) -> list[tuple[str, MessageKey]]:
    """The messages that are asked for by name."""
    if not refs:
        raise invalid("messages", "messages must name at least one")
    if len(refs) > MAX_NAMED_MESSAGES:
        detail = f"messages must be at most {MAX_NAMED_MESSAGES}, not {len(refs)}"
        reason = messaging.REJECTED_REASON_TOO_LARGE
        raise Refused(reason, detail, field="messages", limit=MAX_NAMED_MESSAGES)
    return [_message(ref, f"messages[{number}]") for number, ref in enumerate(refs)]


def invalid(field: str, detail: str, limit: int = 0) -> Refused:
    """The refusal of a field."""
    return Refused(messaging.REJECTED_REASON_INVALID_FIELD, detail, field=field, limit=limit)


def _anchor(request: history.ListMessagesRequest, conversation: str) -> Cut | None:
    """Just before what the anchor names."""
    match request.WhichOneof("anchor"):
        case "time":
            _check_time(request.time, "time")
            # Messages stand at whole microseconds: those at or after a time start at the next one.
            sent_at_us = request.time.seconds * 1_000_000 + -(-request.time.nanos // 1_000)
            return Cut(MessageKey(sent_at_us, "", ""))
        case "message":
            named, key = _message(request.message, "message")
            if named != conversation:
                raise invalid("message.conversation_id", "message.conversation_id is another conversation's")
            return Cut(key)
        case _:
            return None


def _message(ref: messaging.MessageRef, path: str) -> tuple[str, MessageKey]:
    conversation = _conversation_id(ref.conversation_id, f"{path}.conversation_id")
    if not is_user_id(ref.sender_id):
        raise _bad_user(f"{path}.sender_id")
    if not is_command_id(ref.message_id):
        detail = f"{path}.message_id must be 1 to {MAX_COMMAND_ID_BYTES} of [A-Za-z0-9_-]"
        raise invalid(f"{path}.message_id", detail, MAX_COMMAND_ID_BYTES)
    if not ref.HasField("sent_at"):
        raise invalid(f"{path}.sent_at", f"{path}.sent_at is required")
    _check_time(ref.sent_at, f"{path}.sent_at")
    if ref.sent_at.nanos % 1_000:
        raise invalid(f"{path}.sent_at", f"{path}.sent_at must be as it was told, in whole microseconds")
    return conversation, message_key(ref)


def _conversation_id(value: str, path: str) -> str:
    if not is_conversation_id(value):
        raise invalid(path, f"{path} must be 22 characters of base64url")
    return value


def _check_users(users: Sequence[str], path: str, limit: int) -> None:
    if not users:
        raise invalid(path, f"{path} must name at least one user")
    if len(users) > limit:
        reason = messaging.REJECTED_REASON_TOO_MANY_RECIPIENTS
        raise Refused(reason, f"{path} must be at most {limit}, not {len(users)}", field=path, limit=limit)
    seen: set[str] = set()
    for number, user in enumerate(users):
        if not is_user_id(user):
            raise _bad_user(f"{path}[{number}]")
        if user in seen:
            raise invalid(f"{path}[{number}]", f"{path}[{number}] is named twice")
        seen.add(user)


def _bad_user(path: str) -> Refused:
    return invalid(path, f"{path} must be 1 to {MAX_USER_ID_BYTES} visible ASCII bytes", MAX_USER_ID_BYTES)


def _check_time(time: timestamp_pb2.Timestamp, path: str) -> None:
    if not (MIN_SECONDS <= time.seconds <= MAX_SECONDS and 0 <= time.nanos < 1_000_000_000):
        raise invalid(path, f"{path} is not a time between the years 1 and 9999")
