"""Joined pieces are what protobuf would have encoded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.log.v1 import record_pb2 as log
from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_core.cursor import Cursor
from messaging_core.events import event_piece, gap_piece, positioned, update_piece
from messaging_core.wire import varint

EVENTS = st.one_of(
    st.builds(
        lambda text, sender: messaging.Event(
            message=messaging.Message(
                ref=messaging.MessageRef(conversation_id="c" * 22, sender_id=sender, message_id="m"),
                content=messaging.Content(text=text),
            )
        ),
        st.text(max_size=300),
        st.text(max_size=20),
    ),
    st.builds(
        lambda key, removed: messaging.Event(
            reaction_changed=messaging.ReactionChanged(user_id="u", key=key, removed=removed)
        ),
        st.text(max_size=20),
        st.booleans(),
    ),
    st.builds(
        lambda trace: messaging.Event(read_mark=messaging.ReadMark(user_id="u"), traceparent=trace),
        st.text(max_size=64),
    ),
)
CURSOR = Cursor(b"12345678", 7, 42, 1_700_000_000_000_000)


@given(EVENTS)
def test_a_joined_event_is_the_event_with_its_cursor(event: messaging.Event) -> None:
    """Putting the cursor before the record's bytes gives exactly what protobuf encodes for the whole event."""
    stored = event.SerializeToString()
    event.cursor = CURSOR.encode()
    encoded = messaging.Update(event=event).SerializeToString(deterministic=True)
    assert event_piece(CURSOR.encode().encode(), stored) == b"\x0a" + varint(len(encoded)) + encoded


@given(st.lists(EVENTS, max_size=5))
def test_joined_pieces_are_a_frame(events: list[messaging.Event]) -> None:
    """Pieces one after the other are the frame with these updates, for Connect and for Subscribe."""
    frame = messaging.ConnectResponse()
    pieces = []
    for event in events:
        pieces.append(event_piece(CURSOR.encode().encode(), event.SerializeToString()))
        event.cursor = CURSOR.encode()
        frame.updates.add(event=event)
    pong = messaging.Update(pong=messaging.Pong(command_id=5))
    pieces.append(update_piece(pong))
    frame.updates.append(pong)
    assert b"".join(pieces) == frame.SerializeToString(deterministic=True)
    assert list(messaging.SubscribeResponse.FromString(b"".join(pieces)).updates) == list(frame.updates)


@pytest.mark.parametrize("size", [0, 1, 100, 127, 128, 16_300, 16_383, 16_384, 70_000])
def test_events_of_every_size(size: int) -> None:
    """Lengths around each varint boundary, within and beyond the table, are right."""
    event = messaging.Event(message=messaging.Message(content=messaging.Content(text="x" * size)))
    frame = messaging.ConnectResponse.FromString(
        event_piece(CURSOR.encode().encode(), event.SerializeToString())
    )
    event.cursor = CURSOR.encode()
    assert list(frame.updates) == [messaging.Update(event=event)]


def test_a_gap_has_both_cursors() -> None:
    """A gap's piece is a frame with its range."""
    until = CURSOR._replace(offset=50)
    frame = messaging.ConnectResponse.FromString(gap_piece(CURSOR, until))
    assert frame.updates[0].gap == messaging.Gap(after=CURSOR.encode(), until=until.encode())


@pytest.mark.parametrize(
    ("kind", "participants", "has_ref"), [(1, 2, True), (1, 3, False), (1, 1, False), (2, 2, False)]
)
def test_a_positioned_event_knows_its_place(kind: int, participants: int, has_ref: bool) -> None:
    """It carries offset, time, sender and the shared piece; the message's ref where a receipt may follow: in direct ones."""
    ref = messaging.MessageRef(conversation_id="c" * 22, sender_id="ann", message_id="m")
    event = messaging.Event(message=messaging.Message(ref=ref))
    record = log.LoggedEvent(
        kind=kind,  # type: ignore[arg-type]
        sender_id="ann",
        participant_count=participants,
        event_time_us=99,
        event=event.SerializeToString(),
    )
    placed = positioned(record, b"12345678", 7, 42, 100)
    assert (placed.offset, placed.time_us, placed.sender_id) == (42, 100, "ann")
    assert placed.direct_ref == (ref.SerializeToString() if has_ref else b"")
    event.cursor = Cursor(b"12345678", 7, 42, 100).encode()
    assert list(messaging.ConnectResponse.FromString(placed.piece).updates) == [messaging.Update(event=event)]
