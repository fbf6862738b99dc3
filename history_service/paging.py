"""Page tokens: opaque to clients, good for the request that they were given for and no other."""

import hashlib
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable
from typing import NamedTuple, NoReturn, TypeVar

from cell.messaging.v1 import messaging_pb2 as messaging
from history_service.port import Cut, MessageKey
from messaging_core.refusals import Refused

MAX_TOKEN_CHARS = 1_024
_VERSION = b"\x01"
_SEAL_BYTES = 8
_CUT = struct.Struct(">?q?")
_PLACE = struct.Struct(">q")

Item = TypeVar("Item")


class MessagesPlace(NamedTuple):
    """Where a page of messages starts, and which way it goes."""

    cut: Cut
    newer: bool


class ConversationsPlace(NamedTuple):
    """Where a page of conversations starts."""

    last_at_us: int
    conversation_id: str
    cursor: str
    """Of the listing's first page."""


def messages_token(place: MessagesPlace, user_id: str, conversation_id: str) -> str:
    """A token for a page of this user's view of a conversation."""
    sent_at_us, sender_id, message_id = place.cut.key
    names = f"{sender_id}\0{message_id}".encode()
    return _sealed(_CUT.pack(place.newer, sent_at_us, place.cut.after) + names, user_id, conversation_id)


def read_messages_token(token: str, user_id: str, conversation_id: str) -> MessagesPlace:
    """What `messages_token` wrote for the same user and conversation. Raises Refused."""
    payload = _opened(token, user_id, conversation_id)
    try:
        newer, sent_at_us, after = _CUT.unpack(payload[: _CUT.size])
        sender_id, message_id = payload[_CUT.size :].decode().split("\0")
    except (struct.error, ValueError):
        _refuse()
    return MessagesPlace(Cut(MessageKey(sent_at_us, sender_id, message_id), after), newer)


def conversations_token(place: ConversationsPlace, user_id: str) -> str:
    """A token for a page of this user's conversations."""
    names = f"{place.conversation_id}\0{place.cursor}".encode()
    return _sealed(_PLACE.pack(place.last_at_us) + names, user_id, "")


def read_conversations_token(token: str, user_id: str) -> ConversationsPlace:
    """What `conversations_token` wrote for the same user. Raises Refused."""
    payload = _opened(token, user_id, "")
    try:
        (last_at_us,) = _PLACE.unpack(payload[: _PLACE.size])
        conversation_id, cursor = payload[_PLACE.size :].decode().split("\0")
    except (struct.error, ValueError):
        _refuse()
    return ConversationsPlace(last_at_us, conversation_id, cursor)


def fitting(items: Iterable[tuple[Item, int]], max_bytes: int) -> list[Item]:
    """The first of the items that are together no larger, each given with its size; at least one if there is one."""
    kept: list[Item] = []
    total = 0
    for item, size in items:
        total += size
        if kept and total > max_bytes:
            break
        kept.append(item)
    return kept


def _sealed(payload: bytes, user_id: str, conversation_id: str) -> str:
    return urlsafe_b64encode(_VERSION + _seal(payload, user_id, conversation_id) + payload).decode()


def _opened(token: str, user_id: str, conversation_id: str) -> bytes:
    """The payload of a token that is sealed for this request; whoever knows how may have sealed anything."""
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        _refuse()
    try:
        decoded = urlsafe_b64decode(token)
    except Base64Error:
        _refuse()
    payload = decoded[1 + _SEAL_BYTES :]
    if decoded != _VERSION + _seal(payload, user_id, conversation_id) + payload:
        _refuse()
    return payload


def _seal(payload: bytes, user_id: str, conversation_id: str) -> bytes:
    """Ties a token to its request. No secret: whoever forged one would see no more than the request may show anyway."""
    bound_to = f"{user_id}\0{conversation_id}\0".encode()
    return hashlib.blake2b(bound_to + payload, digest_size=_SEAL_BYTES, person=b"cell.page.token").digest()


def _refuse() -> NoReturn:
    raise Refused(
        messaging.REJECTED_REASON_INVALID_FIELD,
        "page_token is not one that this listing gave",
        field="page_token",
    )
