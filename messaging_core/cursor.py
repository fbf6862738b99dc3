"""Cursors: how far a client has come in its user's events, as an opaque string."""

import hashlib
import struct
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from functools import lru_cache
from typing import NamedTuple

_VERSION = 1
_LAYOUT = struct.Struct(">B8sHqq")  # version, incarnation, partition, offset, time: 27 bytes, 36 characters
_CHARS = 36
_URLSAFE = bytes.maketrans(b"+/", b"-_")


class CursorInvalid(ValueError):
    """The string is not a cursor of this version."""


class Cursor(NamedTuple):
    """A position: everything of the user at or before `offset` was sent, gapped for, or does not concern it (I7)."""

    incarnation: bytes
    """Eight bytes that stand for the log's incarnation; see `incarnation_bytes`."""
    partition: int
    offset: int
    """Offset of the last event passed; -1 for before the first."""
    time_us: int
    """Time of the newest event at or before it, microseconds since 1970 (I12)."""

    def encode(self) -> str:
        """36 characters of base64url. The same position and time give the same string, for all users of the partition."""
        return encode_cursor(*self).decode("ascii")


def encode_cursor(incarnation: bytes, partition: int, offset: int, time_us: int) -> bytes:
    """What `Cursor.encode` gives, as ASCII."""
    packed = _LAYOUT.pack(_VERSION, incarnation, partition, offset, time_us)
    return b2a_base64(packed, newline=False).translate(_URLSAFE)


@lru_cache(maxsize=64)
def incarnation_bytes(incarnation: str) -> bytes:
    """What stands for a log's incarnation in cursors."""
    return hashlib.blake2b(incarnation.encode(), digest_size=8).digest()


def decode_cursor(text: str) -> Cursor:
    """Read what `Cursor.encode` wrote. Raises CursorInvalid for anything else, whatever the client sent."""
    if len(text) != _CHARS or not text.isascii():
        raise CursorInvalid("not a cursor")
    try:
        version, *rest = _LAYOUT.unpack(urlsafe_b64decode(text))
    except (Base64Error, struct.error) as error:
        raise CursorInvalid("not a cursor") from error
    cursor = Cursor(*rest)
    if version != _VERSION or cursor.offset < -1 or cursor.time_us < 0 or cursor.encode() != text:
        raise CursorInvalid("not a cursor")
    return cursor
