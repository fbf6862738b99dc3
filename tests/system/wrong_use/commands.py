"""Commands that are refused alone, while the stream goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cell.messaging.v1 import messaging_pb2 as messaging
from check.plain_outbox import new_id
from messaging_core.cursor import Cursor
from messaging_core.ids import conversation_id
from tests.system.wrong_use.answers import (
    CURSOR_INVALID,
    INVALID,
    NOT_ALLOWED,
    NOT_FOUND,
    TOKEN_INVALID,
    TOO_LARGE,
    TOO_MANY_RECIPIENTS,
    UNSUPPORTED,
    Answer,
)
from tests.system.wrong_use.tokens import signed

PEER = "peer"
"""Whom they are for."""
ELSEWHERE = "A" * 22
"""A conversation that does not exist."""


class Caller(NamedTuple):
    """Who says it, and what it needs to say it."""

    user_id: str
    incarnation: bytes
    """Of the cell's log, as cursors have it."""
    partition: int
    other_partition: int

    def cursor(self, offset: int = -1, partition: int | None = None, incarnation: bytes | None = None) -> str:
        """A cursor of the caller, but for what is given."""
        home = self.partition if partition is None else partition
        return Cursor(incarnation or self.incarnation, home, offset, 0).encode()


@dataclass(frozen=True, slots=True)
class WrongCommand:
    """One command that is refused alone. Ways: Connect, Execute, and SendMessage if it is a message."""

    what: str
    make: Callable[[Caller], messaging.Command]
    answer: Answer
    ways: tuple[str, ...]
    in_execute: Answer | None = None
    """Where a call answers otherwise than a stream, because it has none."""


def message(**fields: object) -> messaging.Command:
    """A message that is right but for these fields; None leaves one out."""
    right: dict[str, object] = {
        "message_id": new_id(),
        "recipients": messaging.Recipients(user_ids=[PEER]),
        "content": messaging.Content(text="wrong"),
    }
    wrong = {name: value for name, value in (right | fields).items() if value is not None}
    return messaging.Command(send_message=messaging.SendMessage(**wrong))  # type: ignore[arg-type]


def ref(caller: Caller | None = None, **fields: object) -> messaging.MessageRef:
    """Names a message that nobody sent: in the caller's conversation with the peer, or in none."""
    home = conversation_id([caller.user_id, PEER]) if caller else ELSEWHERE
    right: dict[str, object] = {"conversation_id": home, "sender_id": PEER, "message_id": "nothing"}
    made = messaging.MessageRef(**(right | fields))  # type: ignore[arg-type]
    if "sent_at" not in fields:
        made.sent_at.FromSeconds(1_700_000_000)
    return made


def _sent(what: str, answer: Answer, **fields: object) -> WrongCommand:
    ways = ("Connect", "Execute", "SendMessage")
    return WrongCommand(what, lambda _: message(**fields), answer, ways)


def _reply(what: str, answer: Answer, to: Callable[[Caller], messaging.MessageRef]) -> WrongCommand:
    ways = ("Connect", "Execute", "SendMessage")
    return WrongCommand(what, lambda caller: message(reply_to=to(caller)), answer, ways)


def _saying(what: str, answer: Answer, **fields: object) -> WrongCommand:
    return _sent(what, answer, content=messaging.Content(**fields))  # type: ignore[arg-type]


def _attached(what: str, answer: Answer, **fields: object) -> WrongCommand:
    right: dict[str, object] = {"uri": "https://example.org/x", "content_type": "image/png"}
    return _saying(what, answer, attachments=[messaging.Attachment(**(right | fields))])  # type: ignore[arg-type]


def _to(what: str, answer: Answer, *user_ids: str) -> WrongCommand:
    return _sent(what, answer, recipients=messaging.Recipients(user_ids=user_ids))


def _other(
    what: str,
    answer: Answer,
    make: Callable[[Caller], messaging.Command],
    in_execute: Answer | None = None,
) -> WrongCommand:
    return WrongCommand(what, make, answer, ("Connect", "Execute"), in_execute)


def _reacting(caller: Caller, **fields: object) -> messaging.Command:
    right: dict[str, object] = {"reaction_id": new_id(), "message": ref(caller), "key": "👍"}
    wrong = {name: value for name, value in (right | fields).items() if value is not None}
    return messaging.Command(react=messaging.React(**wrong))  # type: ignore[arg-type]


def _unreacting(**fields: object) -> messaging.Command:
    right: dict[str, object] = {"reaction_id": new_id(), "message": ref(), "key": "👍"}
    return messaging.Command(unreact=messaging.Unreact(**(right | fields)))  # type: ignore[arg-type]


def _read(**fields: object) -> messaging.Command:
    return messaging.Command(mark_read=messaging.MarkRead(**fields))  # type: ignore[arg-type]


def _received(**fields: object) -> messaging.Command:
    return messaging.Command(mark_received=messaging.MarkReceived(**fields))  # type: ignore[arg-type]


def _acknowledging(cursor: str) -> messaging.Command:
    return messaging.Command(acknowledge=messaging.Acknowledge(cursor=cursor))


def _refreshing(token: str) -> messaging.Command:
    return messaging.Command(refresh_token=messaging.RefreshToken(token=token))


def traced(command: messaging.Command, traceparent: str) -> messaging.Command:
    command.traceparent = traceparent
    return command


def _invalid(field: str = "", limit: int = 0) -> Answer:
    return Answer(INVALID, field, limit)


def _too_large(field: str, limit: int) -> Answer:
    return Answer(TOO_LARGE, field, limit)


_NO_TOKEN = Answer(TOKEN_INVALID, "refresh_token.token")
_NO_CURSOR = Answer(CURSOR_INVALID, "acknowledge.cursor")
_NOWHERE = Answer(NOT_FOUND)
_ACK_IN_EXECUTE = Answer(UNSUPPORTED, "acknowledge")
_REFRESH_IN_EXECUTE = Answer(UNSUPPORTED, "refresh_token")
_USERS = messaging.Recipients(user_ids=[PEER])
_FUTURE = ref()
_FUTURE.sent_at.FromSeconds(32_000_000_000)
_FINE = ref()
_FINE.sent_at.nanos = 1

COMMANDS = (
    _other("No command", Answer(UNSUPPORTED), lambda _: messaging.Command()),
    _other("A command to come", Answer(UNSUPPORTED), lambda _: messaging.Command.FromString(b"\xca\x01\x00")),
    # Names.
    _sent("No message id", _invalid("message_id", 64), message_id=""),
    _sent("A message id with a space", _invalid("message_id", 64), message_id="a b"),
    _sent("A message id with a line end", _invalid("message_id", 64), message_id="ab\n"),
    _sent("A message id beyond ASCII", _invalid("message_id", 64), message_id="ä"),
    _sent("A message id of 65 bytes", _too_large("message_id", 64), message_id="a" * 65),
    # Whom to.
    _sent("No recipients and no conversation", _invalid("to"), recipients=None),
    _to("An empty set of recipients", _invalid("recipients.user_ids")),
    _to("An empty user id", _invalid("recipients.user_ids[1]", 255), PEER, ""),
    _to("A user id with a space", _invalid("recipients.user_ids[0]", 255), "a b"),
    _to("A user id beyond ASCII", _invalid("recipients.user_ids[0]", 255), "ä"),
    _to("A user id of 256 bytes", _invalid("recipients.user_ids[0]", 255), "a" * 256),
    _to("A recipient twice", _invalid("recipients.user_ids"), PEER, PEER),
    _to(
        "1,001 recipients",
        Answer(TOO_MANY_RECIPIENTS, "recipients.user_ids", "max_recipients"),
        PEER,
        *(f"u{n}" for n in range(1_000)),
    ),
    _sent(
        "A conversation id that is none",
        _invalid("conversation_id"),
        recipients=None,
        conversation_id="short",
    ),
    _sent("A conversation that does not exist", _NOWHERE, recipients=None, conversation_id=ELSEWHERE),
    # What.
    _sent("No content", _invalid("content"), content=None),
    _saying("Neither body nor attachments", _invalid("content")),
    _sent(
        "Content with a field to come",
        Answer(UNSUPPORTED, "content"),
        content=messaging.Content.FromString(b"\x0a\x01x\x7a\x00"),
    ),
    _saying("Empty text", _invalid("content.text"), text=""),
    _saying("65,536 bytes of text", Answer(TOO_LARGE, "content", "max_content_bytes"), text="x" * 65_536),
    _saying(
        "65,536 bytes of data",
        Answer(TOO_LARGE, "content", "max_content_bytes"),
        data=b"x" * 65_536,
        content_type="a/b",
    ),
    _saying("Data without a content type", _invalid("content.content_type"), data=b"x"),
    _saying("A content type that is none", _invalid("content.content_type"), text="x", content_type="text"),
    _saying(
        "A content type with a line end",
        _invalid("content.content_type"),
        text="x",
        content_type="text/plain\n",
    ),
    _saying(
        "A content type of 128 bytes",
        _too_large("content.content_type", 127),
        text="x",
        content_type="a/" + "b" * 126,
    ),
    _saying(
        "17 attributes",
        _too_large("content.attributes", 16),
        text="x",
        attributes={f"k{n}": "" for n in range(17)},
    ),
    _saying("An attribute without a key", _invalid("content.attributes"), text="x", attributes={"": "v"}),
    _saying(
        "An attribute's key of 65 bytes",
        _too_large("content.attributes", 64),
        text="x",
        attributes={"k" * 65: "v"},
    ),
    _saying(
        "1,025 bytes of attributes",
        _too_large("content.attributes", 1_024),
        text="x",
        attributes={"k": "v" * 1_024},
    ),
    _saying(
        "11 attachments",
        _too_large("content.attachments", 10),
        attachments=[messaging.Attachment(uri="a:b", content_type="a/b")] * 11,
    ),
    _attached("An attachment without a URI", _invalid("content.attachments[0].uri"), uri=""),
    _attached("A relative URI", _invalid("content.attachments[0].uri"), uri="x/y"),
    _attached("A URI with a space", _invalid("content.attachments[0].uri"), uri="https://a/b c"),
    _attached(
        "A URI of 2,049 bytes", _too_large("content.attachments[0].uri", 2_048), uri="a:" + "b" * 2_047
    ),
    _attached(
        "An attachment without a content type",
        _invalid("content.attachments[0].content_type"),
        content_type="",
    ),
    _attached("A negative size", _invalid("content.attachments[0].size_bytes"), size_bytes=-1),
    _attached("A SHA-256 of one byte", _invalid("content.attachments[0].sha256", 32), sha256=b"x"),
    _attached("A name of 256 bytes", _too_large("content.attachments[0].name", 255), name="n" * 256),
    _sent("A negative level of notification", _invalid("notify"), notify=-1),
    # What it answers.
    _reply("A reply to nothing", _invalid("reply_to.conversation_id"), lambda _: messaging.MessageRef()),
    _reply("A reply across conversations", _invalid("reply_to.conversation_id"), lambda _: ref()),
    _reply(
        "A reply to a user who does not take part",
        _invalid("reply_to.sender_id"),
        lambda caller: ref(caller, sender_id="stranger"),
    ),
    _reply(
        "A reply to a message without a time",
        _invalid("reply_to.sent_at"),
        lambda caller: ref(caller, sent_at=None),
    ),
    # Reactions and marks.
    _other("A reaction without an id", _invalid("reaction_id", 64), lambda c: _reacting(c, reaction_id="")),
    _other("A reaction to nothing", _invalid("message"), lambda c: _reacting(c, message=None)),
    _other("A reaction without a key", _invalid("key"), lambda c: _reacting(c, key="")),
    _other("A reaction's key of 68 bytes", _too_large("key", 64), lambda c: _reacting(c, key="👍" * 17)),
    _other(
        "A reaction to a time that has not come",
        _invalid("message.sent_at"),
        lambda c: _reacting(c, message=_FUTURE),
    ),
    _other(
        "A reaction to a time finer than told",
        _invalid("message.sent_at"),
        lambda c: _reacting(c, message=_FINE),
    ),
    _other(
        "A reaction in a conversation that does not exist", _NOWHERE, lambda c: _reacting(c, message=ref())
    ),
    _other(
        "A reaction to a user who does not take part",
        _invalid("message.sender_id"),
        lambda c: _reacting(c, message=ref(c, sender_id="stranger"), participants=_USERS),
    ),
    _other(
        "Participants of another conversation",
        _invalid("participants"),
        lambda c: _reacting(c, message=ref(), participants=_USERS),
    ),
    _other(
        "A reaction taken back that does not exist, nor its conversation", _NOWHERE, lambda _: _unreacting()
    ),
    _other("A read mark through nothing", _invalid("through"), lambda _: _read()),
    _other("A read mark in a conversation that does not exist", _NOWHERE, lambda _: _read(through=ref())),
    _other("A received mark through nothing", _invalid("through"), lambda _: _received()),
    _other(
        "A received mark in a conversation that does not exist", _NOWHERE, lambda _: _received(through=ref())
    ),
    _other(
        "A received mark outside of direct conversations",
        Answer(NOT_ALLOWED, "through.conversation_id"),
        lambda c: _received(
            through=ref(conversation_id=conversation_id([c.user_id, PEER, "third"])),
            participants=messaging.Recipients(user_ids=[PEER, "third"]),
        ),
    ),
    # Cursors and tokens of a stream.
    _other(
        "An acknowledgement of no cursor", _NO_CURSOR, lambda _: _acknowledging("nonsense"), _ACK_IN_EXECUTE
    ),
    _other(
        "An acknowledgement of another user's partition",
        _NO_CURSOR,
        lambda c: _acknowledging(c.cursor(0, c.other_partition)),
        _ACK_IN_EXECUTE,
    ),
    _other(
        "An acknowledgement of another log",
        _NO_CURSOR,
        lambda c: _acknowledging(c.cursor(0, incarnation=b"anotherl")),
        _ACK_IN_EXECUTE,
    ),
    _other(
        "An acknowledgement of what has not come yet",
        _NO_CURSOR,
        lambda c: _acknowledging(c.cursor(1 << 40)),
        _ACK_IN_EXECUTE,
    ),
    _other(
        "A new token that does not hold", _NO_TOKEN, lambda _: _refreshing("garbage"), _REFRESH_IN_EXECUTE
    ),
    _other(
        "A new token of another user",
        _NO_TOKEN,
        lambda _: _refreshing(signed("someone-else")),
        _REFRESH_IN_EXECUTE,
    ),
    # Trace contexts, whatever they come with.
    WrongCommand(
        "A trace context of 65 bytes",
        lambda _: traced(message(), "0" * 65),
        _too_large("traceparent", 64),
        ("Connect", "Execute", "SendMessage"),
    ),
    WrongCommand(
        "A trace context beyond ASCII",
        lambda _: traced(message(), "ä"),
        _invalid("traceparent"),
        ("Connect", "Execute", "SendMessage"),
    ),
    _other(
        "A trace context of 65 bytes on a ping",
        _too_large("traceparent", 64),
        lambda _: traced(messaging.Command(ping=messaging.Ping()), "0" * 65),
    ),
)
