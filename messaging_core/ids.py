"""Names of users, commands and conversations: what is allowed, and how a conversation gets its id."""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable

MAX_USER_ID_BYTES = 255
MAX_COMMAND_ID_BYTES = 64
CONVERSATION_ID_CHARS = 22

_USER_ID = re.compile(r"[\x21-\x7e]{1,255}\Z")
_COMMAND_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_CONVERSATION_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")
_DOMAIN = b"cell.conversation.v1\0"


def is_user_id(value: str) -> bool:
    """Whether `value` is 1 to 255 visible ASCII bytes, what OpenID Connect allows as `sub` without spaces."""
    return _USER_ID.match(value) is not None


def is_command_id(value: str) -> bool:
    """Whether `value` is 1 to 64 of [A-Za-z0-9_-]: a message_id or reaction_id."""
    return _COMMAND_ID.match(value) is not None


def is_conversation_id(value: str) -> bool:
    """Whether `value` has the form that `conversation_id` gives."""
    return _CONVERSATION_ID.match(value) is not None


def conversation_id(participants: Iterable[str]) -> str:
    """The id of the conversation of exactly these users: 22 characters of base64url, whatever their order.

    It is the first 16 bytes of SHA-256 over "cell.conversation.v1", a zero byte, and then each distinct id in byte order,
    preceded by its length as two big-endian bytes. So no two sets share an encoding, and anyone who knows the participants
    can check a conversation without a look-up.
    """
    digest = hashlib.sha256(_DOMAIN)
    for user_id in sorted({user.encode("ascii") for user in participants}):
        digest.update(len(user_id).to_bytes(2, "big") + user_id)
    return urlsafe_b64encode(digest.digest()[:16])[:CONVERSATION_ID_CHARS].decode("ascii")
