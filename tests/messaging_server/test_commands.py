"""Every bound that messaging.proto states, one by one."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as m
from messaging_core.ids import conversation_id
from messaging_core.limits import Limits
from messaging_core.refusals import Refused
from messaging_server.commands import Prepared, check_traceparent, prepare, time_us

LIMITS = Limits(max_recipients=5, max_content_bytes=2_000)
NOW = Timestamp(seconds=1_000, nanos=5_000)
AB = conversation_id(["alice", "bob"])


def honoured(time: int) -> bool:
    return time <= 1_000_000_005


def prepared(command: m.Command) -> Prepared:
    return prepare(command, "alice", LIMITS, honoured)


def ref(**changes: Any) -> m.MessageRef:
    fields: dict[str, Any] = {"conversation_id": AB, "sender_id": "bob", "message_id": "m1", "sent_at": NOW}
    return m.MessageRef(**fields | changes)


def to(*user_ids: str) -> m.Recipients:
    return m.Recipients(user_ids=user_ids)


def send(**changes: Any) -> m.Command:
    fields: dict[str, Any] = {"message_id": "m1", "recipients": to("bob"), "content": m.Content(text="hi")}
    return m.Command(command_id=1, send_message=m.SendMessage(**fields | changes))


def content(**changes: Any) -> m.Command:
    return send(content=m.Content(**changes))


def attached(**changes: Any) -> m.Command:
    fields: dict[str, Any] = {"uri": "https://a/b", "content_type": "image/png"}
    return content(attachments=[m.Attachment(**fields | changes)])


def react(**changes: Any) -> m.Command:
    fields: dict[str, Any] = {"reaction_id": "r1", "message": ref(), "key": "👍"}
    return m.Command(command_id=1, react=m.React(**fields | changes))


def read(**changes: Any) -> m.Command:
    return m.Command(command_id=1, mark_read=m.MarkRead(**{"through": ref()} | changes))


TOO_LARGE, INVALID = m.REJECTED_REASON_TOO_LARGE, m.REJECTED_REASON_INVALID_FIELD


@pytest.mark.parametrize(
    ("command", "reason", "field", "limit"),
    [
        (send(message_id=""), INVALID, "message_id", 64),
        (send(message_id="a b"), INVALID, "message_id", 64),
        (send(message_id="é"), INVALID, "message_id", 64),
        (send(message_id="x" * 65), TOO_LARGE, "message_id", 64),
        (send(recipients=None), INVALID, "to", 0),
        (send(recipients=to()), INVALID, "recipients.user_ids", 0),
        (send(recipients=to("bob", "")), INVALID, "recipients.user_ids[1]", 255),
        (send(recipients=to("b b")), INVALID, "recipients.user_ids[0]", 255),
        (send(recipients=to("x" * 256)), INVALID, "recipients.user_ids[0]", 255),
        (send(recipients=to("bob", "bob")), INVALID, "recipients.user_ids", 0),
        (send(recipients=to(*"abcdef")), m.REJECTED_REASON_TOO_MANY_RECIPIENTS, "recipients.user_ids", 5),
        (send(recipients=None, conversation_id="x"), INVALID, "conversation_id", 0),
        (send(content=None), INVALID, "content", 0),
        (content(), INVALID, "content", 0),
        (content(text=""), INVALID, "content.text", 0),
        (content(text="x" * 2_000), TOO_LARGE, "content", 2_000),
        (content(data=b"x"), INVALID, "content.content_type", 0),
        (content(text="x", content_type="plain"), INVALID, "content.content_type", 0),
        (content(text="x", content_type="a/b\r\n;c=d"), INVALID, "content.content_type", 0),
        (content(text="x", content_type="a/b\u00a0;c=d"), INVALID, "content.content_type", 0),
        (content(text="x", content_type="a/" + "b" * 126), TOO_LARGE, "content.content_type", 127),
        (content(text="x", attributes={str(n): "" for n in range(17)}), TOO_LARGE, "content.attributes", 16),
        (content(text="x", attributes={"": "v"}), INVALID, "content.attributes", 0),
        (content(text="x", attributes={"k" * 65: "v"}), TOO_LARGE, "content.attributes", 64),
        (content(text="x", attributes={"k": "é" * 512}), TOO_LARGE, "content.attributes", 1_024),
        (content(attachments=[m.Attachment()] * 11), TOO_LARGE, "content.attachments", 10),
        (attached(uri=""), INVALID, "content.attachments[0].uri", 0),
        (attached(uri="/relative"), INVALID, "content.attachments[0].uri", 0),
        (attached(uri="https://a b"), INVALID, "content.attachments[0].uri", 0),
        (attached(uri="x:" + "y" * 2_047), TOO_LARGE, "content.attachments[0].uri", 2_048),
        (attached(content_type=""), INVALID, "content.attachments[0].content_type", 0),
        (attached(size_bytes=-1), INVALID, "content.attachments[0].size_bytes", 0),
        (attached(sha256=b"x"), INVALID, "content.attachments[0].sha256", 32),
        (attached(name="x" * 256), TOO_LARGE, "content.attachments[0].name", 255),
        (send(notify=-1), INVALID, "notify", 0),
        (send(reply_to=ref(conversation_id="x")), INVALID, "reply_to.conversation_id", 0),
        (send(reply_to=ref(conversation_id=conversation_id("xy"))), INVALID, "reply_to.conversation_id", 0),
        (send(reply_to=ref(sender_id="")), INVALID, "reply_to.sender_id", 255),
        (send(reply_to=ref(message_id="")), INVALID, "reply_to.message_id", 64),
        (send(reply_to=ref(sent_at=None)), INVALID, "reply_to.sent_at", 0),
        (send(reply_to=ref(sent_at=Timestamp(seconds=1, nanos=1))), INVALID, "reply_to.sent_at", 0),
        (send(reply_to=ref(sent_at=Timestamp(seconds=1_001))), INVALID, "reply_to.sent_at", 0),
        (send(reply_to=ref(sent_at=Timestamp(seconds=2**62))), INVALID, "reply_to.sent_at", 0),
        (react(reaction_id=""), INVALID, "reaction_id", 64),
        (react(message=None), INVALID, "message", 0),
        (react(key=""), INVALID, "key", 0),
        (react(key="é" * 33), TOO_LARGE, "key", 64),
        (react(participants=to("carol")), INVALID, "participants", 0),
        (react(message=ref(sent_at=Timestamp(seconds=1_001))), INVALID, "message.sent_at", 0),
        (read(through=None), INVALID, "through", 0),
        (read(participants=to(*"abcdef")), m.REJECTED_REASON_TOO_MANY_RECIPIENTS, "participants.user_ids", 5),
        (m.Command(command_id=1), m.REJECTED_REASON_UNSUPPORTED, "command", 0),
    ],
)
def test_what_passes_a_bound_is_refused_by_its_name(
    command: m.Command, reason: int, field: str, limit: int
) -> None:
    """A refusal names the field as a path from the command, and the limit."""
    with pytest.raises(Refused) as refused:
        prepared(command)
    assert (refused.value.reason, refused.value.field, refused.value.limit) == (reason, field, limit)
    assert refused.value.outcome == m.REJECTED_OUTCOME_NOT_DONE


@pytest.mark.parametrize(
    "command",
    [
        send(message_id="x" * 64),
        send(recipients=to("alice")),
        send(recipients=to("alice", "bob")),
        send(recipients=to(*"abcde")),
        send(recipients=None, conversation_id=AB),
        send(reply_to=ref()),
        send(notify=17),
        content(data=b"\0\xff", content_type="application/octet-stream"),
        content(text="x", content_type="text/markdown; variant=GFM"),
        content(text="x", attributes={"k" * 64: "v" * 960}),
        attached(sha256=b"x" * 32, name="é" * 127, size_bytes=2**40),
        react(participants=to("bob")),
        react(key="k" * 64),
        read(),
    ],
)
def test_what_keeps_its_bounds_is_taken(command: m.Command) -> None:
    """A command at its bounds is prepared."""
    assert prepared(command).sender_id == "alice"


def test_the_sender_takes_part_without_being_named() -> None:
    """The participants are those named and the sender, in byte order, and hash to the conversation."""
    found = prepared(send(recipients=to("bob", "Zoe")))
    assert found.participants == ("Zoe", "alice", "bob")
    assert found.conversation_id == conversation_id(["alice", "bob", "Zoe"])
    assert prepared(send(recipients=to("alice"))).participants == ("alice",)


def test_the_digest_tells_payloads_apart_and_nothing_else() -> None:
    """The same payload has one digest however the conversation is named; each field that is asked for counts (R3)."""
    digest = prepared(send()).digest
    assert digest == prepared(send(recipients=to("alice", "bob"))).digest
    assert digest == prepared(send(recipients=None, conversation_id=AB)).digest
    assert digest == prepared(send(notify=m.NOTIFY_LEVEL_NORMAL)).digest
    others = [
        send(recipients=to("carol")),
        send(content=m.Content(text="hi!")),
        send(content=m.Content(data=b"hi", content_type="text/plain")),
        send(reply_to=ref()),
        send(notify=m.NOTIFY_LEVEL_SILENT),
        react(),
        react(key="x"),
        m.Command(unreact=m.Unreact(reaction_id="r1", message=ref(), key="👍")),
    ]
    assert len({digest, *(prepared(other).digest for other in others)}) == 1 + len(others)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=8))
def test_the_digest_does_not_depend_on_the_order_of_attributes(attributes: dict[str, str]) -> None:
    """Maps have no order on the wire; the digest of the same attributes is the same."""
    backwards = dict(reversed(attributes.items()))
    one, other = content(text="x", attributes=attributes), content(text="x", attributes=backwards)
    assert prepared(one).digest == prepared(other).digest


def test_times_are_whole_microseconds() -> None:
    """A sent_at that was cut or is no time is not the name of a message."""
    assert time_us(Timestamp(seconds=1, nanos=2_000)) == 1_000_002
    for bad in (
        Timestamp(),
        Timestamp(seconds=1, nanos=-1),
        Timestamp(seconds=-5),
        Timestamp(nanos=1_000_000_000),
    ):
        assert time_us(bad) is None


def test_kinds() -> None:
    """Marks have no command id and no digest: they are state."""
    found = prepared(read())
    assert (found.kind, found.command_id, found.digest) == (log.EVENT_KIND_READ_MARK, "", 0)


@pytest.mark.parametrize(
    ("value", "reason", "limit"), [("x" * 65, TOO_LARGE, 64), ("é", INVALID, 0), ("a\n", INVALID, 0)]
)
def test_a_trace_context_is_printable_ascii_of_64_bytes(value: str, reason: int, limit: int) -> None:
    """More or other than that is refused by its name; an empty one is none."""
    check_traceparent("")
    check_traceparent("0" * 64)
    with pytest.raises(Refused) as refused:
        check_traceparent(value)
    assert (refused.value.reason, refused.value.field, refused.value.limit) == (reason, "traceparent", limit)
