"""What a command asks for, checked: every bound that messaging.proto states is enforced here and in content.py.

A `Prepared` is what remains to be stamped and appended. Where its participants are not known from the command they are
looked up first (conversations.py), and `records.py` makes the record.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core import ids
from messaging_core.limits import Limits
from messaging_core.refusals import Refused
from messaging_core.wire import field, varint
from messaging_server.content import encode_content, invalid, too_large, utf8_bytes
from telemetry import trace_context

MAX_REACTION_KEY_BYTES = 64
_CONTENT_TAG = b"\x12"  # Message.content = 2
_REPLY_TO_TAG = b"\x1a"  # Message.reply_to = 3
_NOTIFY_TAG = b"\x28"  # Message.notify = 5
_REACTED_TAG = b"\x0a"  # ReactionChanged.message = 1
_THROUGH_TAG = b"\x12"  # ReadMark.through = 2, ReceivedMark.through = 2
_MAX_NOTIFY = 2**31 - 1
LAST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999, where Timestamp ends."""
SMALL_SET = 16
"""Up to so many participants what follows from them is remembered."""


class Prepared(NamedTuple):
    """A command that keeps every bound, ready to be stamped."""

    kind: int
    """A cell.log.v1.EventKind."""
    sender_id: str
    command_id: str
    """The client's own id for it (R3); empty for marks, which are state."""
    conversation_id: str
    participants: tuple[str, ...] | None
    """Everyone in the conversation, in byte order; None where the command does not name them."""
    named: tuple[str, ...]
    """Users who must be in the conversation for the command to make sense: those whose messages it names."""
    body: bytes
    """Encoded fields of the event's message that do not depend on the stamp."""
    digest: int
    """The payload digest of R3; 0 for marks."""
    above_us: int
    """The stamp must be above this: sent_at of the message it answers or reacts to; 0 for none."""
    traceparent: str


Honoured = Callable[[int], bool]
"""Whether a time is one that this server's clock would follow: HybridClock.is_honoured."""


def prepare(command: messaging.Command, sender_id: str, limits: Limits, honoured: Honoured) -> Prepared:
    """Check a command that appends and has passed `check_traceparent`. Raises Refused, naming field and limit."""
    name = command.WhichOneof("command")
    traceparent = command.traceparent
    if name == "send_message":
        return prepare_message(command.send_message, sender_id, limits, honoured, traceparent)
    if name == "react":
        return _prepare_reaction(command.react, False, sender_id, limits, honoured, traceparent)
    if name == "unreact":
        return _prepare_reaction(command.unreact, True, sender_id, limits, honoured, traceparent)
    if name == "mark_received":
        mark_received = command.mark_received
        kind = log.EVENT_KIND_RECEIVED_MARK
        return _prepare_mark(kind, mark_received, sender_id, limits, honoured, traceparent)
    if name == "mark_read":
        return _prepare_mark(
            log.EVENT_KIND_READ_MARK, command.mark_read, sender_id, limits, honoured, traceparent
        )
    raise Refused(messaging.REJECTED_REASON_UNSUPPORTED, "this server does not know this command", "command")


def check_traceparent(value: str) -> None:
    """A W3C trace context goes as it came, if it can be one by its size. Raises Refused."""
    if len(value) > trace_context.MAX_BYTES:
        raise too_large("traceparent", "bytes of a trace context", trace_context.MAX_BYTES)
    if value and not (value.isascii() and value.isprintable()):
        raise invalid("traceparent", "not a W3C trace context")


def prepare_message(
    send: messaging.SendMessage, sender_id: str, limits: Limits, honoured: Honoured, traceparent: str
) -> Prepared:
    """Check a message to send. Raises Refused."""
    _check_command_id(send.message_id, "message_id")
    to = send.WhichOneof("to")
    participants = None
    if to == "recipients":
        participants = _participants(send.recipients, sender_id, limits, "recipients")
        conversation_id = _conversation_id(participants)
    elif to == "conversation_id":
        conversation_id = _checked_conversation_id(send.conversation_id, "conversation_id")
    else:
        raise invalid("to", "a message needs a conversation_id or recipients")
    if not send.HasField("content"):
        raise invalid("content", "a message needs content")
    content = encode_content(send.content, limits.max_content_bytes)
    reply_to, above_us = b"", 0
    named: tuple[str, ...] = (sender_id,)
    if send.HasField("reply_to"):
        above_us = _check_ref(send.reply_to, "reply_to", honoured)
        if send.reply_to.conversation_id != conversation_id:
            raise invalid("reply_to.conversation_id", "a reply answers a message of its own conversation")
        reply_to = field(_REPLY_TO_TAG, encode_ref(send.reply_to))
        named = (sender_id, send.reply_to.sender_id)
    notify = send.notify or messaging.NOTIFY_LEVEL_NORMAL
    if not 0 < notify <= _MAX_NOTIFY:
        raise invalid("notify", "not a level of notification")
    body = field(_CONTENT_TAG, content) + reply_to + _NOTIFY_TAG + varint(notify)
    digest = payload_digest("message", conversation_id, body)
    return Prepared(
        log.EVENT_KIND_MESSAGE,
        sender_id,
        send.message_id,
        conversation_id,
        participants,
        named,
        body,
        digest,
        above_us,
        traceparent,
    )


def _prepare_reaction(
    react: messaging.React | messaging.Unreact,
    removed: bool,
    sender_id: str,
    limits: Limits,
    honoured: Honoured,
    traceparent: str,
) -> Prepared:
    _check_command_id(react.reaction_id, "reaction_id")
    if not react.HasField("message"):
        raise invalid("message", "a reaction names a message")
    above_us = _check_ref(react.message, "message", honoured)
    if not react.key:
        raise invalid("key", "a reaction needs a key")
    if utf8_bytes(react.key) > MAX_REACTION_KEY_BYTES:
        raise too_large("key", "bytes of a reaction's key", MAX_REACTION_KEY_BYTES)
    reaction = messaging.ReactionChanged(user_id=sender_id, key=react.key, removed=removed)
    body = field(_REACTED_TAG, encode_ref(react.message)) + reaction.SerializeToString()
    return Prepared(
        log.EVENT_KIND_REACTION_CHANGED,
        sender_id,
        react.reaction_id,
        react.message.conversation_id,
        _named_participants(react, react.message, sender_id, limits),
        (sender_id, react.message.sender_id),
        body,
        payload_digest("reaction", react.message.conversation_id, body),
        above_us,
        traceparent,
    )


def _prepare_mark(
    kind: int,
    mark: messaging.MarkReceived | messaging.MarkRead,
    sender_id: str,
    limits: Limits,
    honoured: Honoured,
    traceparent: str,
) -> Prepared:
    if not mark.HasField("through"):
        raise invalid("through", "a mark names a message")
    above_us = _check_ref(mark.through, "through", honoured)
    participants = _named_participants(mark, mark.through, sender_id, limits)
    return prepared_mark(kind, mark.through, sender_id, participants, above_us, traceparent)


def prepared_mark(
    kind: int,
    through: messaging.MessageRef,
    sender_id: str,
    participants: tuple[str, ...] | None,
    above_us: int,
    traceparent: str = "",
) -> Prepared:
    """A mark of this user through a message."""
    body = messaging.ReadMark(user_id=sender_id).SerializeToString() + field(
        _THROUGH_TAG, encode_ref(through)
    )
    conversation_id = through.conversation_id
    named = (sender_id, through.sender_id)
    return Prepared(kind, sender_id, "", conversation_id, participants, named, body, 0, above_us, traceparent)


def encode_ref(ref: messaging.MessageRef) -> bytes:
    """A MessageRef as it is told, deterministically and without fields that this version does not know."""
    known = messaging.MessageRef(
        conversation_id=ref.conversation_id,
        sender_id=ref.sender_id,
        message_id=ref.message_id,
    )
    known.sent_at.seconds, known.sent_at.nanos = ref.sent_at.seconds, ref.sent_at.nanos
    return known.SerializeToString(deterministic=True)


def payload_digest(kind: str, conversation_id: str, body: bytes) -> int:
    """What tells payloads under one id apart (R3): the first 8 bytes of a BLAKE2b, big-endian.

    It covers what was asked, deterministically encoded, and nothing that differs between two tries: not the stamp, and not
    whether the conversation was named by its id or by its participants.
    """
    head = f"{kind}:{conversation_id}:".encode()  # neither can hold a colon
    digest = hashlib.blake2b(head + body).digest()
    return int.from_bytes(digest[:8], "big")


def time_us(value: Timestamp) -> int | None:
    """Microseconds since 1970 of a well-formed time of a message, else None."""
    seconds, nanos = value.seconds, value.nanos
    if not 0 <= nanos < 1_000_000_000 or nanos % 1_000:
        return None
    micros = seconds * 1_000_000 + nanos // 1_000
    return micros if 0 < micros <= LAST_US else None


def _check_command_id(value: str, field: str) -> None:
    if not ids.is_command_id(value):
        if utf8_bytes(value) > ids.MAX_COMMAND_ID_BYTES:
            raise too_large(field, "bytes of an id", ids.MAX_COMMAND_ID_BYTES)
        raise invalid(field, "an id is 1 to 64 of A-Z a-z 0-9 _ -", ids.MAX_COMMAND_ID_BYTES)


def _checked_conversation_id(value: str, field: str) -> str:
    if not ids.is_conversation_id(value):
        raise invalid(field, f"a conversation id has {ids.CONVERSATION_ID_CHARS} characters of base64url")
    return value


def _check_ref(ref: messaging.MessageRef, field: str, honoured: Honoured) -> int:
    """Check a reference to a message and give its sent_at."""
    _checked_conversation_id(ref.conversation_id, f"{field}.conversation_id")
    if not ids.is_user_id(ref.sender_id):
        raise invalid(
            f"{field}.sender_id", "a user id is 1 to 255 visible ASCII bytes", ids.MAX_USER_ID_BYTES
        )
    _check_command_id(ref.message_id, f"{field}.message_id")
    sent_at = time_us(ref.sent_at)
    if sent_at is None:
        raise invalid(f"{field}.sent_at", "not the time of a message: whole microseconds since 1970")
    if not honoured(sent_at):
        raise invalid(f"{field}.sent_at", "this time has not come yet")
    return sent_at


def _named_participants(
    command: messaging.React | messaging.Unreact | messaging.MarkReceived | messaging.MarkRead,
    ref: messaging.MessageRef,
    sender_id: str,
    limits: Limits,
) -> tuple[str, ...] | None:
    """Everyone in the conversation of `ref`, if the command names them: the hash proves it."""
    if not command.HasField("participants"):
        return None
    participants = _participants(command.participants, sender_id, limits, "participants")
    if _conversation_id(participants) != ref.conversation_id:
        raise invalid("participants", "these are not the participants of this conversation")
    return participants


def _participants(
    recipients: messaging.Recipients, sender_id: str, limits: Limits, field: str
) -> tuple[str, ...]:
    """Everyone named and the sender, in byte order."""
    user_ids = tuple(recipients.user_ids[:])  # as in event_log/reader.py
    if len(user_ids) > limits.max_recipients:
        raise Refused(
            messaging.REJECTED_REASON_TOO_MANY_RECIPIENTS,
            f"number of users: at most {limits.max_recipients}",
            f"{field}.user_ids",
            limits.max_recipients,
        )
    everyone = _small_everyone if len(user_ids) < SMALL_SET else _everyone
    return everyone(user_ids, sender_id, field)


def _everyone(user_ids: tuple[str, ...], sender_id: str, field: str) -> tuple[str, ...]:
    field = f"{field}.user_ids"
    if not user_ids:
        raise invalid(field, "name at least one user")
    for index, user_id in enumerate(user_ids):
        if not ids.is_user_id(user_id):
            detail = "a user id is 1 to 255 visible ASCII bytes"
            raise invalid(f"{field}[{index}]", detail, ids.MAX_USER_ID_BYTES)
    everyone = set(user_ids)
    if len(everyone) != len(user_ids):
        raise invalid(field, "a user is named twice")
    everyone.add(sender_id)
    return in_byte_order(everyone)


_small_everyone = lru_cache(maxsize=4_096)(_everyone)


def in_byte_order(user_ids: Iterable[str]) -> tuple[str, ...]:
    """User ids are ASCII, so that the order of characters is that of bytes."""
    return tuple(sorted(user_ids))


def _conversation_id(participants: tuple[str, ...]) -> str:
    small = len(participants) <= SMALL_SET
    return _small_conversation_id(participants) if small else ids.conversation_id(participants)


_small_conversation_id = lru_cache(maxsize=4_096)(ids.conversation_id)
