"""The checkers catch each violation they are for, and pass what is right."""

from cell.messaging.v1 import messaging_pb2 as messaging
from check.ledger import (
    Ledger,
    Moved,
    Opened,
    Skipped,
    Step,
    Told,
    conversation,
    marks,
    once_violations,
    reactions,
    session_violations,
    without_marks,
)


def message(n: int, sender: str = "ann", sent_at_us: int | None = None, text: str = "") -> messaging.Event:
    event = messaging.Event(cursor=f"c{n}")
    event.message.ref.conversation_id = "conv"
    event.message.ref.sender_id = sender
    event.message.ref.message_id = f"m{n}"
    event.message.ref.sent_at.FromMicroseconds(n if sent_at_us is None else sent_at_us)
    event.message.content.text = text or f"text {n}"
    return event


def read_mark(n: int, through_us: int) -> messaging.Event:
    event = messaging.Event(cursor=f"c{n}")
    event.read_mark.user_id = "bob"
    event.read_mark.through.conversation_id = "conv"
    event.read_mark.through.sent_at.FromMicroseconds(through_us)
    return event


def reaction(n: int, key: str, removed: bool) -> messaging.Event:
    event = messaging.Event(cursor=f"c{n}")
    event.reaction_changed.user_id = "bob"
    event.reaction_changed.key = key
    event.reaction_changed.removed = removed
    return event


def ledger(*steps: Step) -> Ledger:
    made = Ledger("ann")
    for step in steps:
        made.add(step)
    return made


REFERENCE = [message(n) for n in range(6)]
FROM_THE_START = Opened("")


def told(*numbers: int) -> list[Step]:
    return [Told(REFERENCE[n]) for n in numbers]


def test_what_is_right_passes() -> None:
    """A ledger over three streams, with checkpoints between, that has each event once and in order has no violation."""
    right = ledger(
        FROM_THE_START,
        *told(0, 1),
        Moved("x"),
        Opened("x"),
        Moved("x"),
        *told(2, 3),
        Opened("c3"),
        *told(4, 5),
    )
    assert session_violations(REFERENCE, right) == []
    assert once_violations(right.events, accepted=[("ann", "m5")], refused=[("ann", "m9")]) == []


def test_a_client_may_start_in_the_middle_or_live() -> None:
    """What came before the start is not missed; what comes after the first live event is."""
    assert session_violations(REFERENCE, ledger(Opened("c3"), *told(4, 5))) == []
    assert session_violations(REFERENCE, ledger(Opened(None), *told(4, 5))) == []
    assert session_violations(REFERENCE, ledger(Opened("c3"), *told(5))) == ["I7: message ann/m4 is missing"]
    assert session_violations(REFERENCE, ledger(Opened("elsewhere"), *told(4, 5)), start=3) == [
        "I7: message ann/m3 is missing"
    ]


def test_a_hole_within_a_stream_is_caught() -> None:
    """An event left out between two of one stream breaks I6."""
    assert session_violations(REFERENCE, ledger(FROM_THE_START, *told(0, 2, 3, 4, 5))) == [
        "I6: message ann/m1 is missing"
    ]


def test_a_hole_between_streams_is_caught() -> None:
    """An event lost where a stream was resumed breaks I7."""
    lossy = ledger(FROM_THE_START, *told(0, 1), Opened("c1"), *told(3, 4, 5))
    assert session_violations(REFERENCE, lossy) == ["I7: message ann/m2 is missing"]


def test_a_lost_end_is_caught() -> None:
    """Events that never came are missed, unless they may still come."""
    short = ledger(FROM_THE_START, *told(0, 1, 2, 3))
    assert session_violations(REFERENCE, short) == [
        "I6: message ann/m4 is missing",
        "I6: message ann/m5 is missing",
    ]
    assert session_violations(REFERENCE, short, complete=False) == []


def test_a_double_is_caught() -> None:
    """An event told twice breaks I5, and I6 or I7 by where it came."""
    again = ledger(FROM_THE_START, *told(0, 1, 1, 2), Opened("c2"), *told(2, 3, 4, 5))
    assert session_violations(REFERENCE, again) == [
        "I6: message ann/m1 came again or late",
        "I7: message ann/m2 came again or late",
    ]
    assert once_violations(again.events) == [
        "cursor c1 2 times",
        "cursor c2 2 times",
        "message ('ann', 'm1') 2 times",
        "message ('ann', 'm2') 2 times",
    ]


def test_another_order_is_caught() -> None:
    """Two events the wrong way round break I6."""
    swapped = ledger(FROM_THE_START, *told(0, 2, 1, 3, 4, 5))
    assert session_violations(REFERENCE, swapped) == [
        "I6: message ann/m1 is missing",
        "I6: message ann/m1 came again or late",
    ]


def test_another_content_and_an_unknown_event_are_caught() -> None:
    """An event that differs from the reference's, or that it does not have, breaks I6."""
    forged = ledger(
        FROM_THE_START, *told(0), Told(message(1, text="other")), Told(message(9)), *told(2, 3, 4, 5)
    )
    assert session_violations(REFERENCE, forged) == [
        "I6: message ann/m1 differs from the reference",
        "I6: message ann/m9 is not in the reference",
    ]


def test_a_gap_excuses_only_what_it_stands_for() -> None:
    """A jump right after a gap is no violation; a later one is."""
    gapped = ledger(FROM_THE_START, *told(0), Skipped("c0", "c2"), *told(3, 5))
    assert session_violations(REFERENCE, gapped) == ["I6: message ann/m4 is missing"]


def test_a_reference_with_a_double_is_caught() -> None:
    """Nothing can be shown by a reference that has a cursor twice."""
    assert (
        session_violations([*REFERENCE, REFERENCE[5]], ledger(FROM_THE_START))[0]
        == "the reference has a cursor twice"
    )


def test_a_lost_acceptance_and_a_kept_refusal_are_caught() -> None:
    """Accepted and missing, or certainly not done and there, breaks I5."""
    assert once_violations(REFERENCE, accepted=[("ann", "gone")], refused=[("ann", "m1")]) == [
        "message ('ann', 'gone') accepted but missing",
        "message ('ann', 'm1') refused but there",
    ]


def test_the_same_id_of_two_senders_is_no_double() -> None:
    """Ids are each sender's own."""
    twin = message(1, sender="bob")
    twin.cursor = "other"
    assert once_violations([REFERENCE[1], twin]) == []


def test_marks_may_be_left_out_and_never_fall() -> None:
    """A skipped mark is no hole; the fold of marks is their maximum."""
    reference = [message(0), read_mark(1, 5), read_mark(2, 9), message(3)]
    assert session_violations(reference, ledger(FROM_THE_START, Told(reference[0]), Told(reference[3]))) == []
    assert without_marks(reference) == [reference[0], reference[3]]
    assert marks(reference) == marks(reversed(reference)) == {("read_mark", "conv", "bob"): (9, b"", b"")}


def test_the_last_reaction_counts() -> None:
    """A reaction taken back is not there; one given again is."""
    key = ((0, b"", b""), "bob", "+")
    assert reactions([reaction(1, "+", False), reaction(2, "+", True)]) == {key: False}
    assert reactions([reaction(1, "+", True), reaction(2, "+", False)]) == {key: True}


def test_a_conversation_is_shown_by_time_then_sender_then_id() -> None:
    """Order is (sent_at, sender_id, message_id) as bytes, whatever order the events came in."""
    events = [message(3, "b", 1), message(2, "a", 1), message(1, "Z", 1), message(0, "z", 0)]
    assert [m.ref.sender_id for m in conversation(events, "conv")] == ["z", "Z", "a", "b"]
    assert conversation(events, "other") == []
