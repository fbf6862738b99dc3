"""What the plain client does with commands without an outcome, by a clock of its own."""

from cell.messaging.v1 import messaging_pb2 as messaging
from check.ledger import Ledger, Told
from check.plain_outbox import PlainOutbox, Submission, text_message

WINDOW_S = 30


def outbox(retry_window_s: float | None = None, unshown: str = "") -> PlainOutbox:
    return PlainOutbox(Ledger("ann"), retry_window_s=retry_window_s, first_command_id=1, unshown=unshown)


def opens(made: PlainOutbox, stream: int, now_s: float) -> None:
    limits = messaging.Limits(max_in_flight=16, max_commands_per_frame=16)
    limits.retry_window.FromSeconds(WINDOW_S)
    made.opens(stream, now_s)
    made.welcomed(limits, now_s)


def tried(made: PlainOutbox, now_s: float) -> list[str]:
    return [submission.id for submission in made.next_batch(now_s)] if made.may_send(now_s) else []


def lost(made: PlainOutbox) -> Submission:
    """A message that was tried at 0 s, and whose stream ended."""
    submission = Submission(text_message("1", ["bob"], "m1"))
    opens(made, 1, 0)
    made.add(submission)
    assert tried(made, 0) == ["m1"]
    made.stream_ended()
    return submission


def accepted(made: PlainOutbox) -> None:
    """A message that was accepted on stream 1, which ended."""
    made.add(Submission(text_message("1", ["bob"], "m1")))
    opens(made, 1, 0)
    (submission,) = made.next_batch(0)
    update = messaging.Update(accepted=messaging.Accepted(command_id=submission.command.command_id))
    made.outcome(update, 0)
    made.stream_ended()


def shown(made: PlainOutbox) -> None:
    event = messaging.Event(cursor="c1")
    event.message.ref.sender_id, event.message.ref.message_id = "ann", "m1"
    made._ledger.add(Told(event))


def test_within_the_window_it_is_tried_blindly() -> None:
    """On each stream, until as long after the first try as Welcome allows (R3)."""
    made = outbox()
    lost(made)
    opens(made, 2, 20)
    assert tried(made, 29.9) == ["m1"]
    made.stream_ended()
    opens(made, 3, 30)
    assert tried(made, 30) == []


def test_after_a_look_the_window_starts_where_the_stream_was_opened() -> None:
    """That is up to when it is known never to have been, not when it was sent anew (R3)."""
    made = outbox()
    lost(made)
    opens(made, 2, 40)
    assert tried(made, 40) == []
    made.resumed(60)
    assert tried(made, 60) == ["m1"]
    made.stream_ended()
    opens(made, 3, 65)
    assert tried(made, 69.9) == ["m1"]
    made.stream_ended()
    opens(made, 4, 69.9)
    assert tried(made, 70) == []


def test_a_look_on_a_stream_that_was_opened_too_long_ago_says_nothing() -> None:
    """It may have landed since, from a try that is remembered no more: a later stream is wanted (R3)."""
    made = outbox()
    lost(made)
    opens(made, 2, 40)
    assert tried(made, 40) == []
    wanted = [made.wants_later_stream]
    made.resumed(70)
    assert tried(made, 70) == []
    wanted.append(made.wants_later_stream)
    assert wanted == [False, True]
    opens(made, 3, 71)
    made.resumed(72)
    assert tried(made, 72) == ["m1"]


def test_who_never_tries_blindly_looks_after_each_try() -> None:
    """A window of its own makes tries fewer; what a look allows stays."""
    made = outbox(retry_window_s=0)
    lost(made)
    opens(made, 2, 1)
    assert tried(made, 1) == []
    made.resumed(2)
    assert tried(made, 2) == ["m1"]
    made.stream_ended()
    opens(made, 3, 3)
    assert tried(made, 3) == []


def test_what_was_found_is_settled() -> None:
    """Its event came before `resumed`."""
    made = outbox(retry_window_s=0)
    submission = lost(made)
    opens(made, 2, 1)
    assert tried(made, 1) == []
    shown(made)
    made.resumed(2)
    assert submission.found
    assert submission.settled


def test_after_an_unshown_message_it_sends_from_resumed_on() -> None:
    """The server that it comes to may not know the message's time (I12)."""
    made = outbox()
    accepted(made)
    assert made.unshown == "m1"
    opens(made, 2, 5)
    made.add(Submission(text_message("2", ["bob"], "m2")))
    assert tried(made, 5.5) == []
    made.resumed(5.5)
    assert made.unshown == ""
    assert tried(made, 5.5) == ["m2"]


def test_it_waits_a_second_at_most_for_an_unshown_message() -> None:
    """Sends go on where events do not."""
    made = outbox(unshown="m1")
    opens(made, 1, 5)
    made.add(Submission(text_message("2", ["bob"], "m2")))
    assert tried(made, 5.9) == []
    assert made.due_s(5.9) == 6
    assert tried(made, 6) == ["m2"]


def test_a_message_that_was_shown_is_not_waited_for() -> None:
    """The cursor carries its time."""
    made = outbox()
    accepted(made)
    shown(made)
    opens(made, 2, 5)
    made.add(Submission(text_message("2", ["bob"], "m2")))
    assert tried(made, 5) == ["m2"]


def test_refusals_with_a_hint_are_tried_again_after_it() -> None:
    """Not before, and with the id they had (R4)."""
    made = outbox()
    opens(made, 1, 0)
    made.add(Submission(text_message("1", ["bob"], "m1")))
    (submission,) = made.next_batch(0)
    rejected = messaging.Rejected(command_id=submission.command.command_id)
    rejected.retry_after.FromSeconds(2)
    made.outcome(messaging.Update(rejected=rejected), 1)
    assert made.due_s(1) == 3
    assert tried(made, 2.9) == []
    assert tried(made, 3) == ["m1"]
    assert submission.tries == 2
