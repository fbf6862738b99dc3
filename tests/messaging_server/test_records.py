from dataclasses import replace

import pytest

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as m
from messaging_core.limits import Limits
from messaging_core.refusals import Refused
from messaging_server.commands import prepare
from messaging_server.records import MAX_RECORD_BYTES, encode_origin, told_to
from tests.messaging_server.test_commands import prepared, react, read, ref, send, to

STAMP = 2_000_000_000_000_007


def record(
    command: m.Command, participants: tuple[str, ...] = ("alice", "bob")
) -> tuple[log.Origin, m.Event]:
    found = prepared(command)
    audience = told_to(found, participants, 16)
    origin = log.Record.FromString(encode_origin(found, participants, audience, STAMP)).origin
    return origin, m.Event.FromString(origin.logged.event)


def test_a_message_is_recorded_as_it_is_told() -> None:
    """The record's event is the message with its name and stamp, and has no cursor yet."""
    command = send(reply_to=ref(), notify=m.NOTIFY_LEVEL_URGENT)
    command.traceparent = "00-trace"
    origin, event = record(command)
    message = event.message
    assert (origin.command_id, list(origin.participant_ids)) == ("m1", ["alice", "bob"])
    assert (origin.logged.kind, origin.logged.event_time_us) == (log.EVENT_KIND_MESSAGE, STAMP)
    assert (origin.logged.participant_count, origin.logged.sender_id) == (2, "alice")
    assert message.ref.sent_at.ToMicroseconds() == STAMP
    assert (message.ref.message_id, message.ref.sender_id) == ("m1", "alice")
    assert message.content == command.send_message.content
    assert (message.reply_to, message.notify) == (ref(), m.NOTIFY_LEVEL_URGENT)
    assert (event.cursor, event.traceparent) == ("", "00-trace")


@pytest.mark.parametrize("command", [send(reply_to=ref()), react(), read()])
@pytest.mark.parametrize(("others", "hop"), [(1, ""), (2, "00-hop"), (40, "")])
def test_a_record_is_what_protobuf_encodes(command: m.Command, others: int, hop: str) -> None:
    """Joined from its fields, a record is byte for byte the encoding of the messages that it stands for."""
    participants = ("alice", *(f"other{n:02}" for n in range(others)))
    found = prepared(command)
    encoded = encode_origin(found, participants, participants, STAMP, hop)
    record = log.Record.FromString(encoded)
    event = m.Event.FromString(record.origin.logged.event)
    assert record.SerializeToString() == encoded
    assert event.SerializeToString() == record.origin.logged.event
    assert record.origin.traceparent == hop


def test_reactions_and_marks_are_recorded_as_they_are_told() -> None:
    """A reaction has its time, a mark its user, and each its message."""
    _, event = record(react())
    changed = event.reaction_changed
    assert (changed.message, changed.user_id, changed.key, changed.removed) == (ref(), "alice", "👍", False)
    assert changed.changed_at.ToMicroseconds() == STAMP
    _, event = record(read())
    assert (event.read_mark.user_id, event.read_mark.through) == ("alice", ref())
    mark = m.Command(command_id=1, mark_received=m.MarkReceived(through=ref()))
    assert record(mark)[1].received_mark.through == ref()


def test_read_marks_of_large_conversations_are_told_to_their_user_alone() -> None:
    """Above max_mark_participants a read mark is one record for one user (I13)."""
    many = (*tuple(f"user{n:02}" for n in range(16)), "z")
    found = prepared(read())
    assert told_to(found, many[:16], 16) == many[:16]
    assert told_to(found, many, 16) == ("alice",)
    assert record(read(), many)[0].logged.participant_count == 17


def test_received_marks_are_for_direct_conversations() -> None:
    """A received mark in any other conversation is NOT_ALLOWED."""
    found = prepared(m.Command(command_id=1, mark_received=m.MarkReceived(through=ref())))
    for participants in (("alice",), ("alice", "bob", "carol")):
        with pytest.raises(Refused) as refused:
            told_to(found, participants, 16)
        assert refused.value.reason == m.REJECTED_REASON_NOT_ALLOWED


def test_what_does_not_fit_one_record_is_refused() -> None:
    """Content and participants together must fit one record of the log (R1)."""
    limits = replace(Limits(), max_content_bytes=2 * MAX_RECORD_BYTES)
    command = send(content=m.Content(text="x" * MAX_RECORD_BYTES), recipients=to("bob"))
    found = prepare(command, "alice", limits, lambda time: True)
    with pytest.raises(Refused) as refused:
        encode_origin(found, ("alice", "bob"), ("alice", "bob"), STAMP)
    assert (refused.value.reason, refused.value.limit) == (m.REJECTED_REASON_TOO_LARGE, MAX_RECORD_BYTES)
