"""What a hostile or broken peer sends: bytes that are almost protobuf, fields with values at and past every bound."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.cursor import Cursor, incarnation_bytes
from messaging_core.ids import conversation_id
from messaging_core.wire import varint

INCARNATION = "log-1"
USERS = ("ann", "bob", "cy")
DEEPEST = 130
"""Nesting of groups; parsers stop at 100."""

# Numbers and text.

EDGES = sorted(
    {sign * (2**n + d) for n in (0, 7, 14, 31, 32, 53, 62, 63, 64) for d in (-1, 0, 1) for sign in (1, -1)}
)


def ints(low: int, high: int) -> st.SearchStrategy[int]:
    """Whole numbers within bounds, the edges of encodings more often."""
    return st.sampled_from([n for n in EDGES if low <= n <= high] or [low]) | st.integers(low, high)


INT32, INT64 = ints(-(2**31), 2**31 - 1), ints(-(2**63), 2**63 - 1)
UINT32, UINT64 = ints(0, 2**32 - 1), ints(0, 2**64 - 1)

_WORDS = (
    "",
    "a",
    "ann",
    "bob",
    "\0",
    "\n",
    " ",
    "ann\0bob",
    "é",
    "\U0001f600",
    "a" * 64,
    "a" * 65,
    "é" * 40,
    "/" * 300,
)
TEXT = st.sampled_from(_WORDS) | st.text(max_size=12)
"""What a string field may hold: UTF-8, and anything in it."""
ID = st.sampled_from(("m1", "m2", "m3", "A-z_0", "a" * 64)) | TEXT
USER_ID = st.sampled_from((*USERS, "!", "~" * 255)) | TEXT
CONVERSATION_ID = st.sampled_from([conversation_id(users) for users in (USERS[:1], USERS[:2], USERS)]) | TEXT

# Anything that is almost protobuf.


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def groups(number: int, depth: int) -> bytes:
    """Groups within each other: the one thing that nests without a length."""
    return varint(number << 3 | 3) * depth + varint(number << 3 | 4) * depth


_NUMBERS = st.sampled_from((*range(20), 30, 31, 19_000, 2**29 - 1, 2**29, 2**35))
_VARINTS = UINT64.map(varint) | st.sampled_from(
    (b"\x80", b"\xff" * 9 + b"\x01", b"\xff" * 10 + b"\x01", b"\x80" * 9 + b"\x00")
)
_BAD_TEXT = st.sampled_from((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"caf\xc3"))


def _key(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


_SCALARS = st.one_of(
    st.builds(lambda n, v: _key(n, 0) + v, _NUMBERS, _VARINTS),
    st.builds(lambda n, v: _key(n, 1) + v, _NUMBERS, st.binary(min_size=7, max_size=8)),
    st.builds(lambda n, v: _key(n, 5) + v, _NUMBERS, st.binary(min_size=3, max_size=4)),
    st.builds(lambda n, v: _key(n, 2) + v, _NUMBERS, _VARINTS),  # a length, and nothing there
    st.builds(lambda n, v: field(n, v), _NUMBERS, st.binary(max_size=12) | _BAD_TEXT),
    st.builds(groups, st.integers(1, 31), st.integers(0, DEEPEST)),
    st.builds(_key, _NUMBERS, st.sampled_from((3, 4, 6, 7))),
)
WIRE = st.recursive(
    _SCALARS,
    lambda inner: st.builds(
        lambda n, parts: field(n, b"".join(parts)), _NUMBERS, st.lists(inner, max_size=4)
    ),
    max_leaves=8,
)
"""Fields of no message in particular, well or badly formed."""


def _edited(data: bytes, edits: Sequence[tuple[int, int, bytes]]) -> bytes:
    for how, where, new in edits:
        at = where % (len(data) + 1)
        cut = (0, 0, len(new), len(data))[how % 4]
        if how % 4 == 1:  # what stands there once more
            new = data[at : at + len(new)]
        data = data[:at] + new + data[at + cut :]
    return data


_EDITS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4_095), st.binary(max_size=5)), min_size=1, max_size=3
)


def broken(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Valid bytes with some inserted, doubled, overwritten or cut off."""
    return st.builds(_edited, valid, _EDITS)


ENTRY = field(1, b"k") + field(2, b"v")
_DEPTHS = st.integers(90, 99) | st.integers(1, 99)
EXTRAS = st.one_of(
    st.builds(groups, st.just(1_000), _DEPTHS),
    st.builds(lambda depth: field(1_000, groups(1, depth)), _DEPTHS),
    st.builds(lambda depth: field(4, ENTRY + groups(9, depth)), _DEPTHS),  # in Content: an attribute
    st.builds(lambda value: varint(1_000 << 3) + varint(value), UINT64),
)
"""Fields of a later version, or of nobody's."""


def _parts(message: Message) -> Iterator[Message]:
    """The message and all messages in it, but those of maps."""
    yield message
    for described, value in message.ListFields():
        if described.message_type is not None and not described.message_type.GetOptions().map_entry:
            for part in [value] if isinstance(value, Message) else value:
                yield from _parts(part)


def extended(message: Message, extra: bytes, where: int) -> bytes:
    """The message, encoded, with more fields in one of its parts; without them if they are none."""
    encoded = message.SerializeToString()
    copied = type(message).FromString(encoded)
    parts = list(_parts(copied))
    with suppress(DecodeError, EncodeError):
        parts[where % len(parts)].MergeFromString(extra)
        return copied.SerializeToString()
    return encoded


def encodings(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Bytes where this message is expected: it, it with more fields, it broken, and what never was one."""
    valid = messages.map(lambda message: message.SerializeToString())
    return st.one_of(
        valid,
        st.builds(extended, messages, EXTRAS, st.integers(0, 40)),
        st.builds(lambda *parts: b"".join(parts), valid, WIRE),
        broken(valid),
        WIRE,
        st.binary(max_size=40),
    )


# Messages of the contract, with hostile values.


def a(kind: type[Message], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A message; fields that are None are not set."""
    return st.builds(kind, **fields)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """It, or nothing."""
    return strategy | st.none()


NOW_S = 1_790_000_000
TIMES = st.one_of(
    st.builds(
        Timestamp,
        seconds=st.integers(NOW_S - 100, NOW_S + 100),
        nanos=st.integers(0, 999_999).map(lambda us: us * 1_000),
    ),
    st.builds(Timestamp, seconds=INT64 | st.sampled_from((253_402_300_799, -62_135_596_800)), nanos=INT32),
)
DURATIONS = st.builds(Duration, seconds=INT64 | st.integers(-1, 60), nanos=INT32)
CURSORS = st.builds(
    Cursor,
    st.just(incarnation_bytes(INCARNATION)) | st.binary(min_size=8, max_size=8),
    st.integers(0, 4) | st.integers(0, 2**16 - 1),
    st.integers(-1, 5) | ints(-(2**63), 2**63 - 1),
    ints(-(2**63), 2**63 - 1),
).map(Cursor.encode)
CURSOR_TEXT = CURSORS | TEXT
REFS = a(
    messaging.MessageRef,
    conversation_id=CONVERSATION_ID,
    sender_id=USER_ID,
    message_id=ID,
    sent_at=maybe(TIMES),
)
GOOD_REFS = a(
    messaging.MessageRef,
    conversation_id=st.sampled_from([conversation_id(users) for users in (USERS[:1], USERS[:2], USERS)]),
    sender_id=st.sampled_from(USERS),
    message_id=st.sampled_from(("m1", "m2")),
    sent_at=st.just(Timestamp(seconds=NOW_S)),
)
ATTACHMENTS = a(
    messaging.Attachment,
    uri=st.sampled_from(("https://example.org/a", "x:y", "no", "a:" + "b" * 3_000)) | TEXT,
    content_type=st.sampled_from(("image/png", "x", "a/" + "b" * 200)) | TEXT,
    size_bytes=INT64,
    sha256=st.sampled_from((b"", bytes(32), bytes(31))),
    name=TEXT,
)
CONTENTS = a(
    messaging.Content,
    text=maybe(TEXT | st.just("x" * 3_000)),
    content_type=st.sampled_from(("", "text/plain", "text/plain; charset=utf-8", "text")) | TEXT,
    attributes=st.dictionaries(TEXT, TEXT, max_size=3),
    attachments=st.lists(ATTACHMENTS, max_size=2),
)
GOOD_CONTENTS = st.one_of(
    a(messaging.Content, text=st.sampled_from(("hello", "x" * 900))),
    st.just(messaging.Content(data=b"\0\xff", content_type="image/png")),
)
RECIPIENTS = st.builds(
    lambda users: messaging.Recipients(user_ids=users),
    st.lists(st.sampled_from(USERS), min_size=1, max_size=3, unique=True) | st.lists(USER_ID, max_size=12),
)


SENDS = a(
    messaging.SendMessage,
    message_id=ID,
    conversation_id=maybe(CONVERSATION_ID),
    content=maybe(CONTENTS | GOOD_CONTENTS),
    reply_to=maybe(REFS | GOOD_REFS),
    notify=INT32,
)
GOOD_SENDS = a(
    messaging.SendMessage,
    message_id=st.sampled_from(("m1", "m2", "m3", "m4")),
    recipients=st.builds(
        lambda users: messaging.Recipients(user_ids=users),
        st.lists(st.sampled_from(USERS), min_size=1, max_size=3, unique=True),
    ),
    content=GOOD_CONTENTS,
    reply_to=maybe(GOOD_REFS),
)
