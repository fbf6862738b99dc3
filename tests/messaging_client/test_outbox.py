"""Rule R3, case by case."""

import random

import pytest

from cell.messaging.v1 import messaging_pb2 as messaging
from messaging_client.commands import mark_read, react, send_message
from messaging_client.errors import MessagingError, NotDone, OutcomeUnknown, Reason
from messaging_client.kept import Change, Drop, KeptCommand, Put, Refused, Tried
from messaging_client.outbox import Outbox
from messaging_client.outgoing import Outgoing, View
from messaging_client.values import MessageRef, NotifyLevel

WINDOW_S = 45.0
REF = MessageRef("C" * 22, "bob", "m1", 1_700_000_000_000_001)
UNAVAILABLE = NotDone(Reason.UNAVAILABLE, "away")


def view(number: int = 1, opened_s: float = 0.0, *, resumed: bool = False, **limits: int) -> View:
    taken = messaging.Limits()
    taken.retry_window.FromSeconds(int(WINDOW_S))
    for name, limit in limits.items():
        setattr(taken, name, limit)
    return View(number, opened_s, taken, resumed)


class Box:
    """An outbox with what it says."""

    def __init__(self, max_commands: int = 100, *, in_order: bool = True) -> None:
        self.journal: list[Change] = []
        self.outbox = Outbox(max_commands, 10_000_000, self.journal, random.Random(0), in_order=in_order)

    def add(self, id_: str = "one", text: str = "hi", to: str = "bob", *, posted: bool = False) -> Outgoing:
        outgoing = send_message(text, to, "", None, NotifyLevel.NORMAL, id_)
        self.outbox.add(outgoing, posted=posted)
        return outgoing

    def take(self, stream: View, now_s: float = 0.0, room: int = 100) -> list[str]:
        return [each.id for each in self.outbox.take(stream, room, now_s, 1)]

    def outcome(self) -> MessagingError | None:
        ((_, error),) = self.outbox.settled
        return error


def own_message(id_: str, text: str = "hi") -> messaging.Event:
    event = messaging.Event(cursor="c")
    event.message.ref.sender_id = "ann"
    event.message.ref.message_id = id_
    event.message.content.text = text
    return event


def test_within_its_window_a_lost_outcome_is_tried_again_blindly() -> None:
    """The stream is gone and the window is not over: the same id again, at once, whether resumed or not."""
    box = Box()
    one = box.add()
    assert box.take(view(1)) == ["one"]
    box.outbox.broken([one])
    assert box.take(view(2), WINDOW_S - 1) == ["one"]
    box.outbox.accepted(one)
    assert box.outcome() is None


def test_after_its_window_it_is_looked_for_first_and_found() -> None:
    """Nothing is sent before `resumed`; the own event on the way there is the outcome."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.broken([one])
    second = view(2, WINDOW_S)
    assert box.take(second, WINDOW_S) == []
    box.outbox.seen(own_message("one"), "ann")
    assert box.outcome() is None


def test_after_its_window_and_not_found_it_is_sent_anew() -> None:
    """`resumed` without its event: it never was. Its new window starts where the stream was opened."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.broken([one])
    second = view(2, 100.0)
    assert box.take(second, 101.0) == []
    second.resumed = True
    box.outbox.resumed(second, 120.0)
    assert box.take(second, 120.0) == ["one"]
    box.outbox.broken([one])
    assert box.take(view(3, 144.0), 144.0) == ["one"], "100 + 45 is not over"
    box.outbox.broken([one])
    assert box.take(view(4, 145.0), 145.0) == []


def test_the_stream_of_the_last_try_says_nothing() -> None:
    """A look needs a stream that was opened after the last try."""
    box = Box()
    one = box.add()
    first = view(1, 0.0, resumed=True)
    box.take(first)
    box.outbox.rejected(one, UNAVAILABLE, unknown=True, now_s=0.0)
    box.outbox.on_time(WINDOW_S)
    assert box.take(first, WINDOW_S) == []
    assert box.outbox.wants_stream_after(1)
    assert not box.outbox.wants_stream_after(2)
    box.outbox.resumed(first, WINDOW_S)
    assert box.take(first, WINDOW_S) == []


def test_a_resume_that_took_too_long_is_done_again() -> None:
    """When `resumed` comes after the new window is over, what it shows is too old."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.broken([one])
    second = view(2, 100.0)
    box.take(second, 100.0)
    second.resumed = True
    box.outbox.resumed(second, 100.0 + WINDOW_S)
    assert box.take(second, 100.0 + WINDOW_S) == []
    assert box.outbox.wants_stream_after(2)


def test_what_another_process_tried_is_looked_for_whatever_the_clock_says() -> None:
    """A command that was tried before a restart is never tried blindly; one that was not is just sent."""
    box = Box()
    tried, fresh = (send_message("hi", to, "", None, NotifyLevel.NORMAL, to) for to in ("tried", "fresh"))
    kept = [
        KeptCommand(each.id, each.lane, each.command.SerializeToString(), tried_at_us)
        for each, tried_at_us in ((tried, 5), (fresh, None))
    ]
    box.outbox.load(kept)
    first = view(1)
    assert box.take(first) == ["fresh"]
    first.resumed = True
    box.outbox.resumed(first, 1.0)
    assert box.take(first, 1.0) == ["tried"]


def refused_after_an_uncertain_try(box: Box) -> tuple[Outgoing, NotDone]:
    """The first try, at 0 s, may happen yet; the second, at 1 s, is refused for good."""
    one = box.add()
    box.take(view(1))
    box.outbox.broken([one])
    second = view(2, 1.0, resumed=True)
    box.take(second, 1.0)
    refusal = NotDone(Reason.NOT_ALLOWED, "no")
    box.outbox.rejected(one, refusal, unknown=False, now_s=1.0)
    assert box.take(second, 1.0) == []
    assert box.outbox.settled == []
    return one, refusal


def test_a_refusal_after_an_uncertain_try_is_told_after_a_look() -> None:
    """An earlier try may have landed: NotDone is said only when a stream opened after it could has shown that it did not."""
    box = Box()
    _, refusal = refused_after_an_uncertain_try(box)
    third = view(3, 2.0, resumed=True)
    box.outbox.resumed(third, 2.0)
    assert box.outbox.settled == [], "the first try may be on its way to the log still"
    assert not box.outbox.wants_stream_after(3), "nor is there anything to look for before"
    assert box.outbox.due_s() > WINDOW_S
    box.outbox.on_time(WINDOW_S + 20)
    assert box.take(third, WINDOW_S + 20) == []
    assert box.outbox.wants_stream_after(3)
    box.outbox.resumed(view(4, WINDOW_S + 20, resumed=True), WINDOW_S + 21)
    assert box.outcome() is refusal


def test_a_refusal_is_not_told_of_what_happened_meanwhile() -> None:
    """The first try lands while it is waited for: the outcome is that it is done."""
    box = Box()
    refused_after_an_uncertain_try(box)
    box.outbox.resumed(view(3, 2.0, resumed=True), 2.0)
    box.outbox.seen(own_message("one"), "ann")
    assert box.outcome() is None


def test_a_refusal_of_the_only_try_is_told_at_once() -> None:
    """Not done, and nothing may help: that is the outcome."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.rejected(one, NotDone(Reason.NOT_ALLOWED, "no"), unknown=False, now_s=0.0)
    assert isinstance(box.outcome(), NotDone)


def test_too_old_to_be_tried_blindly_is_looked_for() -> None:
    """RETRY_TOO_OLD from the cell: as if the window were over."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.rejected(one, NotDone(Reason.RETRY_TOO_OLD, "old"), unknown=False, now_s=0.0)
    box.outbox.on_time(10.0)
    second = view(2, 10.0)
    assert box.take(second, 10.0) == []
    second.resumed = True
    box.outbox.resumed(second, 10.0)
    assert box.take(second, 10.0) == ["one"]


def test_a_deadline_says_what_is_known() -> None:
    """Never sent or only refused: NotDone. Sent without an outcome: OutcomeUnknown. In both cases it is forgotten."""
    box = Box()
    box.add("never", to="a")
    assert isinstance(box.outbox.withdraw("never"), NotDone)
    refused = box.add("refused", to="b")
    sent = box.add("sent", to="c")
    box.take(view(1))
    box.outbox.rejected(
        refused, NotDone(Reason.RATE_LIMITED, "slow", retry_after_s=9), unknown=False, now_s=0
    )
    error = box.outbox.withdraw("refused")
    assert isinstance(error, NotDone)
    assert error.reason is Reason.RATE_LIMITED
    assert isinstance(box.outbox.withdraw("sent"), OutcomeUnknown)
    assert len(box.outbox) == 0
    box.outbox.accepted(sent)
    assert box.outbox.settled == []


def test_an_unknown_command_that_is_sent_again_goes_on_from_where_it_was() -> None:
    """Its window is that of its first try; what was seen of it meanwhile counts; another payload is another command."""
    for seen in (False, True):
        box = Box()
        box.add()
        box.take(view(1))
        assert isinstance(box.outbox.withdraw("one"), OutcomeUnknown)
        if seen:
            box.outbox.seen(own_message("one"), "ann")
        box.add()
        if seen:
            assert box.outcome() is None
        else:
            assert box.take(view(2, 50.0), 50.0) == [], "it is looked for first"
            put = [change for change in box.journal if isinstance(change, Put)][-1]
            assert put.command.tried_at_us is not None


def test_the_same_command_again_is_joined_and_another_one_refused() -> None:
    """An id that is under way: the same payload shares its outcome, another payload is a MESSAGE_ID_CONFLICT."""
    box = Box()
    one = box.add()
    box.add()
    with pytest.raises(NotDone) as caught:
        box.add(text="other")
    assert caught.value.reason is Reason.MESSAGE_ID_CONFLICT
    assert one.waiters == 2
    assert isinstance(box.outbox.withdraw("one"), OutcomeUnknown)
    assert box.take(view(1)) == ["one"]


def test_an_event_of_the_same_id_and_another_content_is_a_conflict() -> None:
    """Somebody else of this user took the id: ours was not done."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.broken([one])
    box.outbox.seen(own_message("one", "not what we said"), "ann")
    second = view(2, 1.0)
    assert box.take(second, 1.0) == []
    second.resumed = True
    box.outbox.resumed(second, 1.0)
    error = box.outcome()
    assert isinstance(error, NotDone)
    assert error.reason is Reason.MESSAGE_ID_CONFLICT


def test_a_reaction_is_settled_by_one_like_it() -> None:
    """Reactions are state: the own event with the same message, key and direction will do."""
    box = Box()
    add, remove = react(REF, "+", (), removed=False), react(REF, "-", (), removed=True)
    for each in (add, remove):
        box.outbox.add(each, posted=False)
    assert box.take(view(1)) == [add.id], "changes to one message keep their order"
    box.outbox.broken([add])
    event = messaging.Event(cursor="c")
    event.reaction_changed.message.CopyFrom(add.command.react.message)
    event.reaction_changed.user_id, event.reaction_changed.key = "ann", "+"
    box.outbox.seen(event, "ann")
    assert box.outcome() is None
    assert box.take(view(2)) == [remove.id]


def test_marks_are_tried_blindly_for_ever() -> None:
    """A mark is state that never falls: doing it twice harms nobody."""
    box = Box()
    mark = mark_read(REF, ())
    box.outbox.add(mark, posted=False)
    box.take(view(1))
    box.outbox.broken([mark])
    assert box.take(view(2, 1_000.0), 1_000.0) == [mark.id]


def test_lanes_go_one_after_the_other_unless_told_otherwise() -> None:
    """In order: one command of a lane in flight. Otherwise all at once."""
    for in_order, expected in ((True, ["1", "3"]), (False, ["1", "2", "3"])):
        box = Box(in_order=in_order)
        for id_, to in (("1", "bob"), ("2", "bob"), ("3", "carol")):
            box.add(id_, to=to)
        assert box.take(view(1)) == expected


def test_a_frame_has_a_size() -> None:
    """Commands of more than the cell's max_frame_bytes go into several frames; 64 KiB where it tells none."""
    for frame_bytes, text_bytes, expected in (
        (0, 32_000, [2, 1]),
        (0, 33_000, [1, 1, 1]),
        (200_000, 33_000, [3, 0]),
        (50_000, 24_000, [2, 1]),
        (50_000, 25_000, [1, 1, 1]),
    ):
        box = Box()
        for n in range(3):
            box.add(str(n), text="x" * text_bytes, to=str(n))
        assert [len(box.take(view(1, max_frame_bytes=frame_bytes))) for _ in expected] == expected
        assert box.take(view(1)) == []


def test_what_is_too_large_for_a_frame_with_others_has_its_own() -> None:
    """Beside commands of the client's own it waits for the next frame; larger than any frame it is refused."""
    box = Box()
    limited = view(1, max_frame_bytes=10_000)
    box.add("large", text="x" * 9_800)
    assert box.outbox.take(limited, 100, 0.0, 1, frame_bytes=200) == []
    assert box.take(limited) == ["large"]
    box.add("larger", text="x" * 10_000, to="carol")
    assert box.take(limited) == []
    error = box.outcome()
    assert isinstance(error, NotDone)
    assert (error.reason, error.limit) == (Reason.TOO_LARGE, 10_000)


def test_the_journal_lets_a_store_follow() -> None:
    """Put when it is taken, Tried before its first try only, Drop with its outcome, Refused if nobody waits."""
    box = Box()
    one = box.add()
    box.take(view(1))
    box.outbox.broken([one])
    box.take(view(2))
    box.outbox.accepted(one)
    box.add("two", posted=True)
    two = box.outbox.take(view(2), 1, 0.0, 7)[0]
    box.outbox.rejected(two, NotDone(Reason.NOT_FOUND, "no"), unknown=False, now_s=0.0)
    kinds = [type(change) for change in box.journal]
    assert kinds == [Put, Tried, Drop, Put, Tried, Refused]
    assert box.outbox.unsent == [(two.id, two.refusal)]


def test_the_outbox_is_bounded() -> None:
    """Beyond its bounds a command is refused by name."""
    box = Box(max_commands=1)
    box.add()
    with pytest.raises(NotDone) as caught:
        box.add("two")
    assert (caught.value.reason, caught.value.limit) == (Reason.OUTBOX_FULL, 1)


def test_an_id_that_was_refused_is_free_again() -> None:
    """Before its refusal is told, too: the new command takes its place, and what is told later is not about that."""
    box = Box()
    box.add(posted=True)
    box.take(view(1))
    (refused,) = box.outbox._all.values()
    first, second = (NotDone(Reason.NOT_ALLOWED, why) for why in ("no", "no again"))
    box.outbox.rejected(refused, first, unknown=False, now_s=0.0)
    again = box.add(text="better", posted=True)
    assert [type(change) for change in box.journal] == [Put, Tried, Refused, Drop, Put]
    box.journal.clear()
    box.outbox.told("one", first)
    box.take(view(1))
    box.outbox.rejected(again, second, unknown=False, now_s=0.0)
    box.outbox.told("one", first)
    assert [type(change) for change in box.journal] == [Tried, Refused], "the second one is not told yet"
    box.outbox.told("one", second)
    assert [type(change) for change in box.journal] == [Tried, Refused, Drop]


def test_nothing_is_left_of_what_was_given_up_while_there_was_no_stream() -> None:
    """An outage of hours, in which send after send runs out of time, takes no more memory than one of minutes."""
    box = Box()
    box.add("waits", to="carol")
    for n in range(1_000):
        box.add(str(n))
        box.outbox.withdraw(str(n))
    assert len(box.outbox._ready) < 100
    assert box.take(view(1)) == ["waits"]


def test_a_try_leaves_before_its_window_ends_and_soon() -> None:
    """Within 5 s, and where an earlier one may have happened, before its window is over; marks at any time within 5 s."""
    box = Box()
    one = box.add()
    mark = mark_read(REF, ())
    box.outbox.add(mark, posted=False)
    box.take(view(1))
    assert (one.leaves_by_s, mark.leaves_by_s) == (5.0, 5.0)
    box.outbox.broken([one, mark])
    box.take(view(2, 44.0), 44.0)
    assert (one.leaves_by_s, mark.leaves_by_s) == (WINDOW_S, 49.0)
