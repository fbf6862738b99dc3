"""When an event counts as taken, and what that moves."""

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.errors import NotDone, Reason
from messaging_client.events import Gap, NotSent, Reset
from messaging_client.inbox import Inbox

EVENT = NotSent("one", NotDone(Reason.OTHER, ""))


def message(cursor: str, message_id: str) -> messaging.Event:
    ref = messaging.MessageRef(sender_id="bob", message_id=message_id)
    return messaging.Event(cursor=cursor, message=messaging.Message(ref=ref))


def test_an_event_is_taken_when_the_next_is_asked_for() -> None:
    """The cursor follows what was taken, not what was handed over."""
    inbox = Inbox(10_000)
    inbox.put(EVENT, "c1")
    inbox.put(EVENT, "c2")
    assert inbox.take() == []
    handed = inbox.hand_over()
    assert handed is not None
    assert handed.event is EVENT
    assert inbox.hand_over() is None, "the one before was not taken yet"
    assert [waiting.cursor for waiting in inbox.take()] == ["c1"]
    inbox.hand_over()
    assert [waiting.cursor for waiting in inbox.take()] == ["c2"]


def test_a_position_moves_once_everything_before_it_was_taken() -> None:
    """Checkpoints and the like wait behind the events before them; the last of several counts."""
    inbox = Inbox(10_000)
    assert [waiting.cursor for waiting in inbox.pass_to("c1")] == ["c1"]
    inbox.put(EVENT, "c2")
    assert inbox.pass_to("c3") == []
    assert inbox.pass_to("c4") == []
    inbox.hand_over()
    assert inbox.pass_to("c5") == []
    assert [waiting.cursor for waiting in inbox.take()] == ["c2", "c5"]
    assert not inbox


def test_bounds_are_in_bytes() -> None:
    """Full at the bound, overfull at twice, and room again at half; what was handed over still counts."""
    inbox = Inbox(4 * 1_124)
    for _ in range(8):
        inbox.put(EVENT, "c", 100)
    assert inbox.is_full
    assert inbox.is_overfull
    for _ in range(6):
        assert not inbox.has_room
        inbox.hand_over()
        inbox.take()
    assert inbox.has_room


def test_the_same_thing_is_a_repeat_whatever_its_cursor() -> None:
    """Messages by their name, other events by what they say."""
    inbox = Inbox(10_000)
    assert not inbox.is_repeat(message("c1", "m1"))
    assert inbox.is_repeat(message("c2", "m1"))
    assert not inbox.is_repeat(message("c2", "m2"))
    changed = messaging.ReactionChanged(key="+", user_id="bob")
    assert not inbox.is_repeat(messaging.Event(cursor="c3", reaction_changed=changed))
    assert inbox.is_repeat(messaging.Event(cursor="c4", reaction_changed=changed))
    changed.removed = True
    assert not inbox.is_repeat(messaging.Event(cursor="c5", reaction_changed=changed))


def test_how_things_stand_takes_the_place_of_how_they_stood() -> None:
    """A snapshot replaces one of its kind that was not handed over, if no event lies between; positions do not count."""
    inbox = Inbox(10_000)
    for cursor in ("c1", "c2", "c3"):
        inbox.put(Gap(cursor, (), True), cursor, 5_000)
        inbox.pass_to("c4")
    assert not inbox.is_full
    inbox.put(EVENT, "c5")
    inbox.put(Gap("c6", (), True), "c6")
    inbox.put(Reset("c7", (), True), "c7")
    cursors = []
    while (handed := inbox.hand_over()) is not None:
        cursors.append(handed.cursor)
        inbox.put(Reset("c8", (), True), "c8") if handed.cursor == "c5" else None
        inbox.take()
    assert cursors == ["c3", "c5", "c6", "c8"]
